import type { z } from 'zod';
import { knownKeys } from './json-schema.ts';
import { nearest } from './nearest.ts';
import type { Fault, Path } from './source.ts';

type Issue = z.core.$ZodIssue;

const words: Readonly<Record<string, string>> = {
  string: 'text',
  object: 'a mapping of keys to values',
  array: 'a list',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
};

/** What the schema found wrong, in words of ours. */
export function schemaFaults(issues: readonly Issue[], root: unknown): Fault[] {
  return issues.flatMap((issue) => {
    const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({ path: [...path, key], message: unknownKey(key, path) }));
    }
    return [{ path, message: explain(issue, valueAt(root, path)) }];
  });
}

/** The plain value at `path`. */
export function valueAt(root: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, key) => (value as Record<string | number, unknown> | null | undefined)?.[key],
    root,
  );
}

const secretName =
  /pass(word|phrase|wd)?$|secret|token|credential|private-?key|api-?key|ssh-?key|tsig|^key$/i;

function unknownKey(key: string, path: Path): string {
  const known = knownKeys(path);
  const meant = nearest(key, known);
  if (secretName.test(key) && (meant === undefined || !secretName.test(meant))) {
    return 'secrets are inputs of the actions, never in this file; remove it, and change the secret if the file was ever pushed';
  }
  if (meant !== undefined) return `unknown key; did you mean "${meant}"?`;
  return `unknown key; known here: ${known.join(', ')}`;
}

function explain(issue: Issue, value: unknown): string {
  if (value === undefined) return missing(issue);
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${words[issue.expected] ?? issue.expected}, not ${kindOf(value)}`;
    case 'invalid_value':
      return notOneOf(value, issue.values.map(String));
    case 'invalid_union':
      return `${show(value)} is not valid: write an IPv4 or IPv6 address`;
    case 'too_small':
      return tooSmall(issue);
    case 'too_big':
      return `must be at most ${issue.maximum}`;
    case 'invalid_format':
      return issue.format === 'email'
        ? `${show(value)} is not a mail address`
        : `${show(value)} is not valid: ${issue.message}`;
    default:
      return issue.message;
  }
}

function missing(issue: Issue): string {
  if (issue.code === 'invalid_value') {
    return `is missing; one of: ${issue.values.map(String).join(', ')}`;
  }
  if (issue.code === 'invalid_type') {
    return `is missing; it must be ${words[issue.expected] ?? issue.expected}`;
  }
  return 'is missing';
}

function tooSmall(issue: Extract<Issue, { code: 'too_small' }>): string {
  if (issue.origin === 'array') return `needs at least ${issue.minimum} entry`;
  if (issue.origin === 'string') return 'must not be empty';
  return `must be at least ${issue.minimum}`;
}

function notOneOf(value: unknown, allowed: readonly string[]): string {
  const meant = typeof value === 'string' ? nearest(value, allowed) : undefined;
  const hint = meant === undefined ? '' : `; did you mean "${meant}"?`;
  return `${show(value)} is not one of: ${allowed.join(', ')}${hint}`;
}

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? `text (${show(value)})` : show(value);
}

/** A value on one line and short. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

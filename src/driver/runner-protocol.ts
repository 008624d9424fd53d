import { parse } from 'yaml';
import { UserError } from '../errors.ts';

/*
 * What GitHub's runner and a JavaScript action say to each other: inputs as environment variables,
 * files for outputs and state, and workflow commands in the output.
 * https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
 */

/** The parts of an action.yml that a runner needs. */
export interface ActionFile {
  readonly inputs: ReadonlyMap<string, string>;
  readonly outputs: readonly string[];
  /** Paths, from the action's folder. */
  readonly main: string;
  readonly post: string | undefined;
}

/** Reads an action.yml; defaults that are expressions take their value from `expressions`. */
export function parseActionFile(
  text: string,
  expressions: Readonly<Record<string, string>> = {},
): ActionFile {
  const action = parse(text) as {
    inputs?: Record<string, { default?: unknown } | null>;
    outputs?: Record<string, unknown>;
    runs: { using: string; main: string; post?: string };
  };
  const inputs = Object.entries(action.inputs ?? {}).map(([name, input]) => {
    const value = evaluate(String(input?.default ?? ''), expressions);
    return [name, value] as const;
  });
  return {
    inputs: new Map(inputs),
    outputs: Object.keys(action.outputs ?? {}),
    main: action.runs.main,
    post: action.runs.post,
  };
}

function evaluate(text: string, expressions: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{\{\s*(.*?)\s*\}\}/g, (_, expression: string) => {
    const value = expressions[expression];
    if (value === undefined) throw new Error(`no value for the expression "${expression}"`);
    return value;
  });
}

/** The INPUT_ variables of a step: what was given over the action's defaults. */
export function inputEnvironment(
  action: ActionFile,
  given: Readonly<Record<string, string>>,
): Record<string, string> {
  for (const name of Object.keys(given)) {
    if (action.inputs.has(name)) continue;
    throw new UserError(`unknown input "${name}"; known: ${[...action.inputs.keys()].join(', ')}`);
  }
  const values = [...action.inputs].map(([name, fallback]) => [name, given[name] ?? fallback]);
  return Object.fromEntries(
    values.map(([name = '', value = '']) => [
      `INPUT_${name.replaceAll(' ', '_').toUpperCase()}`,
      value,
    ]),
  );
}

/** Reads a file of `name=value` and `name<<delimiter` entries (GITHUB_OUTPUT, GITHUB_STATE). */
export function parseFileCommands(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  const lines = text.split(/\r?\n/);
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    if (line === '') continue;
    const [, name = '', mark, rest = ''] = /^([^=<]+)(=|<<)(.*)$/.exec(line) ?? [];
    if (mark === undefined) throw new Error(`not a file command: "${line.slice(0, 40)}"`);
    if (mark === '=') {
      values[name] = rest;
      continue;
    }
    const end = lines.indexOf(rest, at + 1);
    if (end < 0) throw new Error(`the value of "${name}" has no end`);
    values[name] = lines.slice(at + 1, end).join('\n');
    at = end;
  }
  return values;
}

const escapes: Readonly<Record<string, string>> = {
  '%25': '%',
  '%0D': '\r',
  '%0A': '\n',
  '%3A': ':',
  '%2C': ',',
};

function decoded(text: string): string {
  return text.replaceAll(/%(25|0D|0A|3A|2C)/gi, (code) => escapes[code.toUpperCase()] ?? code);
}

/**
 * The output of a step as plain text: secrets masked, workflow commands turned into words, debug
 * lines left out unless asked for.
 */
export class StepLog {
  readonly #masks = new Set<string>();
  readonly #debug: boolean;
  #resumeWord: string | undefined;

  constructor(options: { readonly debug?: boolean } = {}) {
    this.#debug = options.debug ?? false;
  }

  /** The lines to show for one line of output; often one, for a command none or several. */
  read(line: string): readonly string[] {
    const [, name = '', value] = /^::([a-z-]+)(?: [^:]*)?::(.*)$/.exec(line.trimStart()) ?? [];
    if (this.#resumeWord !== undefined) {
      if (line.trim() !== `::${this.#resumeWord}::`) return [this.mask(line)];
      this.#resumeWord = undefined;
      return [];
    }
    if (value === undefined) return [this.mask(line)];
    return this.#command(name, decoded(value)).map((text) => this.mask(text));
  }

  /** `text` with every secret that was named so far replaced by "***". */
  mask(text: string): string {
    let masked = text;
    // The longest first: a part must not break up the whole before that is found.
    for (const secret of [...this.#masks].sort((a, b) => b.length - a.length)) {
      masked = masked.replaceAll(secret, '***');
    }
    return masked;
  }

  /** Makes `mask` hide a secret, each line of it too. */
  hide(secret: string): void {
    const lines = secret.split(/\r?\n/).map((line) => line.trim());
    for (const part of [secret.trim(), ...lines]) if (part !== '') this.#masks.add(part);
  }

  #command(name: string, value: string): readonly string[] {
    switch (name) {
      case 'add-mask':
        this.hide(value);
        return [];
      case 'stop-commands':
        this.#resumeWord = value;
        return [];
      case 'group':
        return [`== ${value}`];
      case 'error':
      case 'warning':
      case 'notice':
        return value.split('\n').map((line) => `${name}: ${line}`);
      case 'debug':
        return this.#debug ? value.split('\n').map((line) => `debug: ${line}`) : [];
      default:
        return [];
    }
  }
}

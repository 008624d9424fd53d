import { isIP } from 'node:net';

/**
 * What in OLD's configuration is OLD itself, and what it is on NEW. Pure text in, text out; nothing
 * here looks at a host.
 */
export interface Rewriting {
  /** OLD's own addresses, in the spelling of `plainAddress`, each with NEW's. */
  readonly addresses: ReadonlyMap<string, string>;
  /** OLD's own host name and NEW's; left out where OLD's is a name that mail goes by. */
  readonly hostName?: { readonly old: string; readonly new: string };
  readonly uids: Numbers;
  readonly gids: Numbers;
  /** Tables (their source files) whose values are numbers of users, of groups. */
  readonly uidTables: readonly string[];
  readonly gidTables: readonly string[];
}

/** Numbers on OLD, each with the number that the same name has on NEW: of those who own mail. */
export type Numbers = ReadonlyMap<number, number>;

/** The text of one file of OLD's as it must be on NEW. */
export function rewrite(path: string, text: string, rewriting: Rewriting): string {
  let result = withAddresses(text, rewriting.addresses);
  if (rewriting.hostName && hasHostNames(path)) result = withHostName(result, rewriting.hostName);
  if (path === '/etc/postfix/main.cf' || path === '/etc/postfix/master.cf')
    result = withPostfixNumbers(result, rewriting);
  if (path.startsWith('/etc/dovecot/')) result = withDovecotNumbers(result, rewriting);
  if (rewriting.uidTables.includes(path)) result = withTableNumbers(result, rewriting.uids);
  if (rewriting.gidTables.includes(path)) result = withTableNumbers(result, rewriting.gids);
  return result;
}

/** One spelling for one address: IPv6 as RFC 5952 has it. Undefined for what is no address. */
export function plainAddress(text: string): string | undefined {
  const kind = isIP(text);
  if (kind === 4) return text;
  return kind === 6 ? new URL(`http://[${text}]`).hostname.slice(1, -1) : undefined;
}

/** Whole addresses only: 10.0.0.1 is not part of 10.0.0.10, nor of 1.10.0.0.1. */
function withAddresses(text: string, addresses: ReadonlyMap<string, string>): string {
  return text
    .replace(
      /(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d]|\.\d)/g,
      (token) => addresses.get(token) ?? token,
    )
    .replace(
      /(?<![0-9A-Za-z:.])(ipv6:)?([0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![0-9A-Za-z:]|\.\d)/gi,
      (token, prefix: string | undefined, address: string) => {
        const plain = plainAddress(address);
        const other = plain === undefined ? undefined : addresses.get(plain);
        return other === undefined ? token : `${prefix ?? ''}${other}`;
      },
    );
}

/** Files in which the name of a host stands for the machine. In a table it is a mail domain. */
function hasHostNames(path: string): boolean {
  return (
    /^\/etc\/(?:postfix\/(?:main|master)\.cf|mailname|opendkim\.conf|default\/opendkim)$/.test(
      path,
    ) || /^\/etc\/(?:dovecot\/.*\.conf|opendkim\/.*(?:hosts|Hosts))$/.test(path)
  );
}

/** A name without a dot is too common a word to be told from others. */
function withHostName(text: string, name: { old: string; new: string }): string {
  if (!name.old.includes('.')) return text;
  const pattern = name.old.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
  return text.replace(new RegExp(`(?<![\\w.@-])${pattern}(?![\\w-]|\\.\\w)`, 'gi'), name.new);
}

/** postconf(5): a logical line goes on with lines that begin with white space. */
function withPostfixNumbers(text: string, { uids, gids }: Rewriting): string {
  return text.replace(/^[^#\s].*(?:\n[ \t#].*)*/gm, (logical) =>
    logical
      .replace(
        /(virtual_([ug])id_maps\s*=[^#]*?static:)(\d+)/g,
        (whole, before: string, kind: string, number: string) =>
          mapped(whole, before, kind === 'u' ? uids : gids, number),
      )
      .replace(
        /^(virtual_minimum_uid\s*=\s*)(\d+)/,
        (_whole, before: string, number: string) => `${before}${lowest(Number(number), uids)}`,
      ),
  );
}

/** Settings of Dovecot that are numbers of users and groups; queries of SQL that answer one. */
function withDovecotNumbers(text: string, { uids, gids }: Rewriting): string {
  return text.replace(/^(?!\s*#).*$/gm, (line) =>
    line
      .replace(
        /\b((?:mail_|userdb_)?([ug])id\s*=\s*)(\d+)\b/g,
        (whole, before: string, kind: string, number: string) =>
          mapped(whole, before, kind === 'u' ? uids : gids, number),
      )
      .replace(
        /\b(\d+)(\s+as\s+(?:userdb_)?([ug])id\b)/gi,
        (whole, number: string, after: string, kind: string) => {
          const other = (kind.toLowerCase() === 'u' ? uids : gids).get(Number(number));
          return other === undefined ? whole : `${other}${after}`;
        },
      )
      .replace(
        /^(\s*(first|last)_valid_([ug])id\s*=\s*)(\d+)/,
        (_whole, before: string, end: string, kind: string, number: string) => {
          const numbers = kind === 'u' ? uids : gids;
          return `${before}${end === 'first' ? lowest(Number(number), numbers) : highest(Number(number), numbers)}`;
        },
      ),
  );
}

function withTableNumbers(text: string, numbers: Numbers): string {
  return text.replace(/^([^#\s]\S*\s+)(\d+)(?=\s*$)/gm, (whole, key: string, number: string) =>
    mapped(whole, key, numbers, number),
  );
}

function mapped(whole: string, before: string, numbers: Numbers, number: string): string {
  const other = numbers.get(Number(number));
  return other === undefined ? whole : `${before}${other}`;
}

/** The lower end of a range that lets in on NEW everybody whom `limit` lets in on OLD. */
function lowest(limit: number, numbers: Numbers): number {
  const letIn = [...numbers].filter(([old]) => old >= limit).map(([, here]) => here);
  return Math.min(...letIn, ...(numbers.has(limit) ? [] : [limit]));
}

/** The upper end; 0 is none (Dovecot 2.3, last_valid_uid). */
function highest(limit: number, numbers: Numbers): number {
  if (limit === 0) return 0;
  const letIn = [...numbers].filter(([old]) => old <= limit).map(([, here]) => here);
  return Math.max(...letIn, ...(numbers.has(limit) ? [] : [limit]));
}

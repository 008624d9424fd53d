import { UserError } from '../../errors.ts';
import { command, script } from '../../hosts/command.ts';
import type { Host } from '../../hosts/host.ts';
import type { MailHost } from '../../hosts/mail-host.ts';

/** What `postconf` and `postconf -M` say: the effective configuration. */
export interface Postfix {
  readonly version: string;
  readonly parameters: ReadonlyMap<string, string>;
  /** `name/type` → the whole entry, as `postconf -M` prints it. */
  readonly services: ReadonlyMap<string, string>;
}

/** Undefined where Postfix is not installed. */
export async function readPostfix(host: Host): Promise<Postfix | undefined> {
  const [settings, master] = await Promise.all([
    host.read(
      script('command -v postconf > /dev/null || exit 44; exec postconf -x', [], {
        allow: [0, 44],
        purpose: 'read the Postfix configuration',
      }),
    ),
    host.read(
      script('command -v postconf > /dev/null || exit 44; exec postconf -M', [], {
        allow: [0, 44],
        purpose: 'read master.cf',
      }),
    ),
  ]);
  if (settings.code === 44) return undefined;
  const parameters = parseParameters(settings.stdout.toString('utf8'));
  const services = parseServices(master.stdout.toString('utf8'));
  return {
    version: parameters.get('mail_version') ?? '?',
    parameters,
    services,
  };
}

/** For steps that can't go on without it. */
export async function demandPostfix(host: MailHost): Promise<Postfix> {
  const postfix = await readPostfix(host);
  if (!postfix)
    throw new UserError(
      `${host.label}: Postfix is not installed. Is this the right host, and the right mail-system?`,
    );
  return postfix;
}

/** Of `postconf`, by name. */
export function parseParameters(text: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^(\S+) = ?(.*)$/.exec(line);
    if (match?.[1] !== undefined) parameters.set(match[1], match[2] ?? '');
  }
  return parameters;
}

/** Of `postconf -M`, by `name/type`. */
export function parseServices(text: string): ReadonlyMap<string, string> {
  const services = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [name, type] = line.split(/\s+/);
    if (name && type) services.set(`${name}/${type}`, line);
  }
  return services;
}

/** The words of a Postfix list (postconf(5): separated by commas or white space). */
export function words(list: string | undefined): readonly string[] {
  return (list ?? '').split(/[\s,]+/).filter((word) => word !== '');
}

/** Table types that `postmap -s` can list (postmap(1)). */
const listable = /^(?:proxy:)?((?:hash|btree|texthash|lmdb|cdb|dbm|sdbm):.*)$/;

/**
 * Every domain that Postfix hands to a local delivery agent: `mydestination`,
 * `virtual_mailbox_domains`, and keys of `transport_maps` whose transport is not SMTP.
 */
export async function localDomains(
  host: Host,
  { parameters, services }: Postfix,
): Promise<readonly string[]> {
  const domains = new Set<string>();
  for (const parameter of ['mydestination', 'virtual_mailbox_domains']) {
    for (const word of words(parameters.get(parameter))) {
      for (const [key] of await entriesOf(host, word)) domains.add(key.toLowerCase());
    }
  }
  for (const word of words(parameters.get('transport_maps'))) {
    for (const [key, value] of await entriesOf(host, word)) {
      const domain = key.slice(key.lastIndexOf('@') + 1).toLowerCase();
      if (domain !== '*' && isLocalTransport(value, services)) domains.add(domain);
    }
  }
  return [...domains].filter((domain) => domain !== '').sort();
}

/** Keys and values of a list's word: a name itself, a file of names, or a table. */
export async function entriesOf(
  host: Host,
  word: string,
): Promise<readonly (readonly [string, string])[]> {
  if (word.startsWith('!')) return [];
  const table = listable.exec(word)?.[1];
  if (table !== undefined) {
    const result = await host.read(command(['postmap', '-s', table], { purpose: `list ${table}` }));
    return lines(result.stdout).map((line) => {
      const [key = '', ...value] = line.split(/\s+/);
      return [key, value.join(' ')] as const;
    });
  }
  if (word.startsWith('/')) {
    const result = await host.read(command(['cat', '--', word], { purpose: `read ${word}` }));
    return lines(result.stdout)
      .filter((line) => !line.startsWith('#'))
      .map((line) => [line.trim(), ''] as const);
  }
  return word.includes(':') ? [] : [[word, '']];
}

/** Whether a transport of master.cf delivers on this host instead of speaking SMTP to another. */
function isLocalTransport(value: string, services: ReadonlyMap<string, string>): boolean {
  const transport = value.split(':')[0] ?? '';
  if (transport === '') return false;
  const program = services.get(`${transport}/unix`)?.split(/\s+/)[7];
  return program !== undefined && !['smtp', 'error', 'discard'].includes(program);
}

function lines(output: Buffer): readonly string[] {
  return output
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
}

/** Inet services that clients use to hand in mail; port 25 and local re-injection are not among them. */
export function submissionServices(postfix: Postfix): readonly string[] {
  return [...postfix.services.keys()]
    .filter((service) => service.endsWith('/inet'))
    .map((service) => service.slice(0, -'/inet'.length))
    .filter((name) => /^(?:.*:)?(?:submission|submissions|smtps|587|465)$/.test(name));
}

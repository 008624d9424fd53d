import type { Dovecot } from './dovecot.ts';
import type { Postfix } from './postfix.ts';

/** A service of master.cf(5) by which strangers hand in mail: smtpd(8) on port 25, or behind postscreen(8). */
export interface PublicService {
  /** `smtp/inet`, as postconf(1) -M takes it. */
  readonly key: string;
  /** The administrator's entry, on one line: without what we have put after it. */
  readonly entry: string;
  /** What we have put after it; empty where the service does not ask the other host. */
  readonly ours: string;
}

/** The first word that we put after an entry. A transport of this name is nobody else's. */
export const ownOptions = ' -o content_filter=mail-cutover-late:';

export function publicServices({ services }: Postfix): readonly PublicService[] {
  return [...services]
    .filter(
      ([key, entry]) =>
        /^(?:(?:.*:)?(?:smtp|25)\/inet|smtpd\/pass)$/.test(key) && program(entry) === 'smtpd',
    )
    .map(([key, whole]) => {
      const [entry = '', ...ours] = whole.split(ownOptions);
      return { key, entry, ours: ours.map((words) => `${ownOptions}${words}`).join('') };
    });
}

function program(entry: string): string | undefined {
  return entry.split(/\s+/)[7];
}

/** What a parameter is for this service: its last `-o` counts, then main.cf. Variables are put in. */
export function effective({ entry }: PublicService, postfix: Postfix, parameter: string): string {
  const own = options(entry).findLast(([name]) => name === parameter)?.[1];
  return expanded(own ?? postfix.parameters.get(parameter) ?? '', postfix);
}

/** The words of `-o`, which are `name=value` or `{ name = value }` (master.cf(5)). */
function options(entry: string): readonly (readonly [string, string])[] {
  return [...entry.matchAll(/\s-o\s+(\{(?:[^{}]|\{[^{}]*\})*\}|\S+)/g)].map((match) => {
    const text = (match[1] ?? '').replace(/^\{\s*|\s*\}$/g, '');
    const at = text.indexOf('=');
    return [text.slice(0, at).trim(), text.slice(at + 1).trim()] as const;
  });
}

function expanded(value: string, { parameters }: Postfix): string {
  return value.replace(
    /\$(?:\{(\w+)\}|\((\w+)\)|(\w+))/g,
    (whole, one?: string, two?: string, three?: string) =>
      parameters.get(one ?? two ?? three ?? '') ?? whole,
  );
}

/** One word of `-o` for master.cf(5); braces keep spaces together. */
export function option(name: string, value: string): string {
  return /[\s{}]/.test(value) ? `-o { ${name} = ${value} }` : `-o ${name}=${value}`;
}

const policy = /check_policy_service\s+(\{[^{}]*\}|[^\s,]+)/g;

/** The `check_policy_service` words of a list that ask Dovecot's quota-status, and the list without them. */
export function splitQuota(
  restrictions: string,
  dovecot: Dovecot | undefined,
): { readonly quota: readonly string[]; readonly others: string } {
  const endpoints = dovecot ? quotaEndpoints(dovecot) : [];
  const asksQuota = (server: string) =>
    server.split(/[\s,{}]+/).some((word) => endpoints.some((endpoint) => word.endsWith(endpoint)));
  const quota = [...restrictions.matchAll(policy)]
    .filter((match) => asksQuota(match[1] ?? ''))
    .map(([whole]) => whole);
  const others = restrictions
    .replace(policy, (whole, server: string) => (asksQuota(server) ? '' : whole))
    .replace(/\s*,(?:\s*,)+/g, ',')
    .replace(/^[\s,]+|[\s,]+$/g, '');
  return { quota, others };
}

/** How the name of quota-status ends in Postfix: `inet:127.0.0.1:12340`, `unix:private/quota-status`. */
function quotaEndpoints({ settings }: Dovecot): readonly string[] {
  const services = [...settings]
    .filter(([key, value]) => key.endsWith('/executable') && value.startsWith('quota-status'))
    .map(([key]) => key.slice(0, -'executable'.length));
  return [...settings].flatMap(([key, value]) => {
    const service = services.find((name) => key.startsWith(name));
    if (service === undefined) return [];
    const rest = key.slice(service.length);
    if (/^inet_listener.*\/port$/.test(rest)) return [`:${value}`];
    const socket = /^unix_listener (\S+)\/\w+$/.exec(rest)?.[1]?.split('/').at(-1);
    return socket === undefined ? [] : [`/${socket}`];
  });
}

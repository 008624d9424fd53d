import type { Step } from '../../engine/step.ts';
import { addressesOf } from '../../hosts/addresses.ts';
import { command, script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { called, freezeGroup as group, type MailContext } from '../mail-system.ts';
import { readDovecot } from './dovecot.ts';
import { demandPostfix } from './postfix.ts';

/*
 * Clients with an old DNS answer, or a fixed address, still come to the host that has given service
 * away. Where asked, its ports lead to the other host: one systemd-socket-proxyd(8) a port, which
 * copies bytes and knows nothing of mail. Port 25 is never among them: the other host would see this
 * one's address instead of a stranger's, and could judge nobody.
 */

/** TCP ports by what a user calls them. */
export const carried = {
  submission: [587, 465],
  imap: [143, 993],
  pop3: [110, 995],
  sieve: [4190],
  web: [80, 443],
} as const;

/** On the other host; undone with its doors. */
const doorGroup = 'door';

/** For how many sessions of one user from one address the other host makes room: all come from one. */
const sessionsOfOne = 1000;

/** What is carried where the migration file does not say: all that a relay's clients use. */
const carriedOfRelay = ['submission', 'imap', 'web'] as const;

/** Ports of OLD that lead on to NEW for late clients. */
export function carriedPorts({ migration }: Pick<MailContext, 'migration'>): readonly number[] {
  const isRelay = migration['mail-system'] === 'chatmail';
  const wanted = migration['late-clients'].carry ?? (isRelay ? carriedOfRelay : []);
  return wanted.flatMap((name) => [...carried[name]]);
}

/** Carries the ports of the source that were asked for to the target; none where none was. */
export function carrySteps(context: MailContext): readonly Step[] {
  const ports = carriedPorts(context);
  if (ports.length === 0) return [];
  const { source, target } = context;
  return [
    {
      id: 'make-room-for-carried',
      title: `Let many clients come to ${called(target)} by the address of ${called(source)}`,
      done: async () => (await limitsLifted(context)) === '',
      do: () => liftLimits(context),
    },
    {
      id: 'carry',
      title: `Carry ports ${ports.join(', ')} of ${called(source)} to ${called(target)}`,
      done: async () => (await free(source, ports)).length === 0,
      do: () => carry(context, ports),
    },
  ];
}

/** Which of the ports nobody listens on. */
async function free(host: MailHost, ports: readonly number[]): Promise<readonly number[]> {
  const result = await host.read(command(['ss', '-Hltn'], { purpose: 'list the listeners' }));
  const taken = new Set(
    [...result.stdout.toString('utf8').matchAll(/:(\d+)\s+\S+\s*$/gm)].map(([, port]) =>
      Number(port),
    ),
  );
  return ports.filter((port) => !taken.has(port));
}

async function carry(context: MailContext, ports: readonly number[]): Promise<string> {
  const { source, target, log } = context;
  const open = await free(source, ports);
  const taken = ports.filter((port) => !open.includes(port));
  if (taken.length > 0)
    log.info(`${source.label}: something listens on ${taken.join(', ')} already; left alone`);
  const program = await proxyProgram(source);
  if (program === '') {
    log.warning(
      `${source.label}: systemd-socket-proxyd is not there, so no port is carried: clients wait for DNS`,
    );
    return 'nothing is carried';
  }
  const trusted = await relaysFor(context);
  if (trusted.length > 0)
    log.warning(
      `${target.label}: takes mail for anybody from ${called(source)} without a password (ports ${trusted.join(', ')}), so these ports are not carried: the world could relay. Look at mynetworks there`,
    );
  const wanted = open.filter((port) => !trusted.includes(port));
  for (const port of wanted) await carryOne(context, port, program);
  return wanted.length === 0 ? 'nothing is carried' : `carried: ${wanted.join(', ')}`;
}

async function proxyProgram(host: MailHost): Promise<string> {
  const result = await host.read(
    script(
      'for path in /usr/lib/systemd /lib/systemd; do if [ -x "$path/systemd-socket-proxyd" ]; then printf "%s" "$path/systemd-socket-proxyd"; break; fi; done',
      [],
      { purpose: 'look for systemd-socket-proxyd' },
    ),
  );
  return result.stdout.toString('utf8');
}

async function carryOne(context: MailContext, port: number, program: string): Promise<void> {
  const { source, target, migration } = context;
  const unit = unitOf(context, port);
  const address = target.address.includes(':') ? `[${target.address}]` : target.address;
  const about = `[Unit]\nDescription=mail-cutover ${migration.name}: port ${port}, carried to ${address}\n# Only as long as service is with the other host.\nConditionPathExists=${source.folder}/released\n`;
  const files = {
    socket: `${about}[Socket]\nListenStream=${port}\n[Install]\nWantedBy=sockets.target\n`,
    service: `${about}Requires=${unit}.socket\nAfter=${unit}.socket\n[Service]\nExecStart=${program} --connections-max=10000 ${address}:${port}\nUser=nobody\nNoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nLimitNOFILE=65536\n`,
  };
  for (const [kind, text] of Object.entries(files)) {
    const path = `/etc/systemd/system/${unit}.${kind}`;
    await source.edit('file', [group, `${unit}.${kind}`, path, '644', 'root:root'], {
      stdin: text,
      purpose: `write ${unit}.${kind}`,
    });
  }
  await source.edit('serve', [group, `serve-${unit}`, `${unit}.socket`], {
    purpose: `carry port ${port}`,
  });
}

function unitOf({ migration }: MailContext, port: number): string {
  return `mail-cutover-${migration.name}-carry-${port}`;
}

/**
 * Submission ports of the target at which the source could relay without logging in: through a carried
 * port everybody could. Asked for real, from the source, because only that counts.
 */
async function relaysFor({ source, target }: MailContext): Promise<readonly number[]> {
  const result = await source.read(
    script(relayScript, [target.address.includes(':') ? `[${target.address}]` : target.address], {
      timeout: 120,
      purpose: 'ask whether NEW relays for it',
    }),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

/** "250 2.1.5" is how Postfix accepts a recipient. Nobody's domain (RFC 6761) is nobody's own. */
const relayScript = String.raw`
for port in 587 465; do
  set -- "$1"
  if [ "$port" = 587 ]; then set -- "$1" -starttls smtp; fi
  host=$1; shift
  said=$(printf '%s\r\n' 'EHLO relay-check.invalid' 'MAIL FROM:<nobody@relay-check.invalid>' \
    'RCPT TO:<nobody@relay-check.invalid>' 'RSET' 'QUIT' |
    timeout 30 openssl s_client -quiet -connect "$host:$port" "$@" 2>/dev/null || :)
  case $said in *'250 2.1.5'*) printf '%s\n' "$port" ;; esac
  set -- "$host"
done`;

/** Prints what is still limited on the target. */
async function limitsLifted(context: MailContext): Promise<string> {
  const [addresses, postfix, dovecot] = await Promise.all([
    addressesOf(context.source),
    demandPostfix(context.target),
    readDovecot(context.target),
  ]);
  const exceptions = postfix.parameters.get('smtpd_client_event_limit_exceptions') ?? '';
  const lacking = addresses.filter(
    (address) => !exceptions.split(/[\s,]+/).includes(pattern(address)),
  );
  const block = dovecot
    ? (
        await context.target.read(
          script('grep -cxF -- "$1" "$2" || :', [`remote ${addresses[0]} {`, dovecot.configFile], {
            purpose: 'look at the limits of Dovecot',
          }),
        )
      ).stdout.toString('utf8')
    : '1';
  return lacking.length === 0 && Number(block) > 0 ? '' : 'limited';
}

/**
 * All carried clients come from one address, and one of them may do much, or guess passwords. Limits
 * by address must not shut the others out: Postfix's counts (anvil(8)) skip that address, and Dovecot
 * lets a user have many sessions from it. Nothing is trusted more for it: who may relay and what
 * passes as secure stay as they are, and Dovecot goes on making guessers wait.
 */
async function liftLimits(context: MailContext): Promise<string> {
  const { source, target } = context;
  const [addresses, postfix, dovecot] = await Promise.all([
    addressesOf(source),
    demandPostfix(target),
    readDovecot(target),
  ]);
  const parameter = 'smtpd_client_event_limit_exceptions';
  const now = (postfix.parameters.get(parameter) ?? '').split(/[\s,]+/).filter(Boolean);
  const all = [...new Set([...now, ...addresses.map(pattern)])].join(' ');
  await target.edit('postconf', [doorGroup, parameter, all], {
    purpose: `count no connections of ${called(source)}`,
  });
  if (dovecot)
    await target.edit('block', [doorGroup, 'carried', dovecot.configFile], {
      stdin: remoteBlock(addresses),
      purpose: `let a user have many sessions from ${called(source)}`,
    });
  await target.edit('reload', [], { purpose: 'reload Postfix and Dovecot' });
  return addresses.join(', ');
}

/** How Postfix writes an address in a list of networks. */
function pattern(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

function remoteBlock(addresses: readonly string[]): string {
  return addresses
    .map((address) => `remote ${address} {\n  mail_max_userip_connections = ${sessionsOfOne}\n}`)
    .join('\n');
}

import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { shownFor } from '../../e2e/migration.ts';
import { startQmailLab } from '../../lab/profile-qmail.ts';
import { maildirOf, virtualMailboxes } from '../../lab/qmail/qmail-files.ts';
import { mailName, network, password, special, virtualUser } from '../../lab/world.ts';
import { qmailFile, type Strategy } from '../../qmail/scene.ts';
import type { MailboxPlace } from '../layout.ts';
import type { RehearsalOptions } from '../options.ts';
import { openSession } from '../transaction.ts';
import type { RehearsedSystem, Scene, Watched } from './system.ts';

/** qmail has POP3 and no submission here; names of messages are its UIDLs. */
export const system: RehearsedSystem = {
  freeze: 'hold',
  population: {
    user: virtualUser,
    hasRoles: true,
    hasFilters: false,
    hasMailPrograms: false,
    host: mailName,
    takesPlain: true,
  },
  async start(options) {
    const { lab } = await startQmailLab({
      mailboxes: options.mailboxes,
      messagesPerMailbox: options.messages,
      variant: options.variant,
    });
    return lab;
  },
  migration: ({ options }) => ({
    ...shownFor('qmail'),
    ...qmailFile(strategyOf(options), options.variant),
  }),
  places: (root, plain) => mailboxes(plain).map((mailbox) => placeOf(root, mailbox)),
  queueLength: 'find /var/qmail/queue/mess -type f | wc -l',
  nudge: async ({ lab }) => {
    for (const host of ['old', 'new'] as const)
      await lab.host(host).sh('pkill -ALRM -x qmail-send');
  },
  watch: (scene) => probeRelaying(scene),
  async frozen(scene) {
    // What POP3 would say on OLD, whose POP3 is closed: the names up to ":".
    uidls.set(scene, await namesOnOld(scene));
    return [];
  },
  async settled(scene, traffic) {
    const faults = await compareUidls(scene);
    const bounces = traffic.sink.received.filter(({ messageId }) => messageId === '');
    return bounces.length === 0 ? faults : [...faults, `${bounces.length} bounces came back`];
  },
};

function strategyOf({ strategy }: RehearsalOptions): Strategy {
  return strategy ?? 'snapshot';
}

function mailboxes(plain: number): readonly string[] {
  const virtual = virtualMailboxes(plain).filter((address) => address !== special.probe);
  return [...virtual, ...special.localUsers, ...special.atticUsers];
}

function placeOf(root: string, mailbox: string): MailboxPlace {
  const path = `${root}${maildirOf(mailbox)}`;
  return { mailbox, maildir: path, control: path };
}

/** Mailboxes whose UIDLs are looked at. */
const sample = [1, 2, 3, 5, 8].map(virtualUser).concat(special.localUsers, special.atticUsers);

type Uidls = ReadonlyMap<string, readonly string[]>;
const uidls = new WeakMap<Scene, Uidls>();

async function namesOnOld({ lab }: Scene): Promise<Uidls> {
  const found = new Map<string, readonly string[]>();
  for (const mailbox of sample) {
    const { stdout } = await lab
      .host('old')
      .sh('cd "$1" && ls new cur | grep -v "^$" | grep -v ":$" | sed "s/:.*//"', [
        maildirOf(mailbox),
      ]);
    found.set(
      mailbox,
      stdout.split('\n').filter((name) => name !== ''),
    );
  }
  return found;
}

async function compareUidls(scene: Scene): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const [mailbox, before] of uidls.get(scene) ?? []) {
    const after = new Set(await uidlList(network.new.v4, mailbox));
    const gone = before.filter((name) => !after.has(name));
    if (gone.length > 0) faults.push(`${mailbox}: ${gone.length} UIDLs changed, ${gone[0]} first`);
  }
  return faults;
}

/** The UIDLs that a server tells (RFC 1939 section 7). */
async function uidlList(address: string, user: string): Promise<readonly string[]> {
  const socket = connect({ host: address, port: 110 });
  socket.setTimeout(20_000, () => socket.destroy(new Error('no answer')));
  const names: string[] = [];
  const commands = [`USER ${user}`, `PASS ${password}`, 'UIDL'];
  for await (const line of createInterface({ input: socket })) {
    if (line.startsWith('-ERR')) throw new Error(`${user} at ${address}: ${line}`);
    const next = line.startsWith('+OK') ? commands.shift() : undefined;
    if (next !== undefined) socket.write(`${next}\r\n`);
    else if (line === '.') socket.end('QUIT\r\n');
    else if (/^\d+ /.test(line)) names.push(line.slice(line.indexOf(' ') + 1));
  }
  return names;
}

/** Nobody's domain (RFC 6761). */
const foreign = 'nobody@relay-check.invalid';

/** Asks both hosts all the while whether they would relay for a stranger. */
function probeRelaying(_: Scene): () => Promise<Watched> {
  const faults = new Set<string>();
  let probes = 0;
  let ended = false;
  const ask = async (address: string) => {
    try {
      const smtp = await openSession({
        ...{ address, port: 25, timeout: 5000, heloName: 'stranger.example', serverName: mailName },
        plain: true,
      });
      try {
        await smtp.command('MAIL FROM:<stranger@stranger.example>');
        const reply = await smtp.command(`RCPT TO:<${foreign}>`);
        probes += 1;
        if (reply.code < 400) faults.add(`${address} relays for strangers: ${reply.code}`);
      } finally {
        await smtp.quit();
      }
    } catch {
      // Closed: then it relays nothing.
    }
  };
  const looking = (async () => {
    while (!ended) {
      await Promise.all([ask(network.old.v4), ask(network.new.v4)]);
      await sleep(200);
    }
  })();
  return async () => {
    ended = true;
    await looking;
    const unproved = probes === 0 ? ['no probe for relaying got an answer'] : [];
    return { faults: [...faults, ...unproved], figures: { relayProbesAnswered: probes } };
  };
}

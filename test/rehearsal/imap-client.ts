import { setTimeout as sleep } from 'node:timers/promises';
import { ImapFlow } from 'imapflow';
import { password } from '../lab/world.ts';
import { messageIdOf, parseHead } from './head.ts';
import { type Listed, MailboxMemory, MemoryFault } from './mailbox-memory.ts';
import { newMessageId, render } from './messages.ts';
import { Presence } from './presence.ts';
import type { Random } from './random.ts';
import type { MailResolver } from './resolver.ts';

export interface ImapClientOptions {
  readonly mailbox: string;
  /** Name of its server. */
  readonly host: string;
  readonly resolver: MailResolver;
  readonly random: Random;
  /** 993 with TLS, else STARTTLS on 143. */
  readonly tls: boolean;
  /** Milliseconds from one action to the next. */
  readonly pace: number;
}

/** Folders that the mail program makes for itself. */
const done = 'Done';
const sent = 'Sent';

/** The server refused a command or hung up: what was under way is in doubt. */
class ImapGone extends Error {
  override readonly name = 'ImapGone';
}

/**
 * A mail program on one mailbox: lists, reads, flags, moves, deletes, appends, and comes back when
 * it is dropped, asking for the server's address each time. What it knows is in its memory.
 */
export class ImapClient {
  readonly memory: MailboxMemory;
  readonly presence = new Presence();
  readonly #options: ImapClientOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #imap: ImapFlow | undefined;
  #address = '';
  /** Set by anything that is a fault of this program, not of the server. */
  #fault: unknown;

  constructor(options: ImapClientOptions) {
    this.#options = options;
    this.memory = new MailboxMemory(options.mailbox);
  }

  /**
   * Connects for the first time, looks at every folder, and then works until stopped. Where nobody
   * serves yet it does so as soon as somebody does.
   */
  async start(served = true): Promise<void> {
    if (served) {
      await this.#connect();
      await this.#lookAround();
    }
    this.#running = this.#work();
  }

  /** Ends the work after the action under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.presence.rest();
    await this.#imap?.logout().catch(() => undefined);
    if (this.#fault) throw this.#fault;
  }

  /** Comes once more and holds everything against the memory. Retries until `seconds` are over. */
  async lastLook(seconds: number): Promise<void> {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      try {
        await this.#connect();
        await this.#lookAround();
        break;
      } catch (error) {
        if (Date.now() > deadline) {
          const { mailbox } = this.#options;
          throw new Error(`${mailbox} can not be opened at the end`, { cause: error });
        }
        await sleep(500);
      }
    }
    await this.#imap?.logout().catch(() => undefined);
  }

  get connected(): boolean {
    return this.#imap?.usable === true;
  }

  async #work(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        if (!this.connected) {
          await this.#connect();
          await this.#lookAround();
        }
        await this.#act();
      } catch (error) {
        if (error instanceof MemoryFault) this.#fault ??= error;
        this.#imap?.close();
      }
      const pace = this.#options.pace * (0.5 + this.#options.random.next());
      await sleep(pace, undefined, { signal }).catch(() => undefined);
    }
  }

  async #connect(): Promise<void> {
    const addresses = await this.#options.resolver.addresses(this.#options.host);
    let failure: unknown;
    for (const address of addresses) {
      const imap = this.#newConnection(address);
      try {
        await imap.connect();
        this.#imap = imap;
        this.#address = address;
        this.presence.connected();
        this.presence.served(address);
        return;
      } catch (error) {
        failure = error;
        imap.close();
      }
    }
    throw new ImapGone('no address serves IMAP', { cause: failure });
  }

  #newConnection(address: string): ImapFlow {
    const imap = new ImapFlow({
      host: address,
      port: this.#options.tls ? 993 : 143,
      secure: this.#options.tls,
      servername: this.#options.host,
      tls: { rejectUnauthorized: false },
      auth: { user: this.#options.mailbox, pass: password },
      logger: false,
      disableAutoIdle: true,
      connectionTimeout: 5000,
      greetingTimeout: 5000,
      socketTimeout: 15_000,
    });
    // Without a listener a dropped connection would end the process; the next command fails anyway.
    imap.on('error', () => undefined);
    return imap;
  }

  /** Every folder, every UID, every flag. */
  async #lookAround(): Promise<void> {
    const listed = await this.#folderNames();
    this.memory.lookAtFolders(listed);
    for (const folder of [done, sent]) {
      if (listed.includes(folder)) continue;
      await this.#session.mailboxCreate(folder);
      this.#served();
    }
    for (const folder of new Set([...listed, done, sent])) {
      await this.#open(folder);
      this.memory.lookAtMessages(folder, await this.#list('1:*'));
    }
  }

  async #folderNames(): Promise<readonly string[]> {
    const folders = await this.#session.list();
    this.#served();
    return folders.filter(({ flags }) => !flags.has('\\Noselect')).map(({ path }) => path);
  }

  async #act(): Promise<void> {
    const { random } = this.#options;
    const folder = random.pick(this.memory.folders);
    await this.#open(folder);
    const first = this.memory.highestUid(folder) + 1;
    const fresh = (await this.#list(`${first}:*`)).filter(({ uid }) => uid >= first);
    this.memory.learn(folder, fresh);
    const uids = this.memory.uids(folder);
    const action = random.next();
    if (action < 0.15) await this.#append();
    else if (uids.length === 0) await this.#folderNames();
    else if (action < 0.4) await this.#read(folder, random.pick(uids));
    else if (action < 0.7) await this.#flag(folder, random.pick(uids));
    else if (action < 0.9) await this.#move(folder, random.pick(uids));
    else if (uids.length > 5) await this.#expunge(folder, random.pick(uids));
  }

  async #open(folder: string): Promise<void> {
    const opened = await this.#session.mailboxOpen(folder);
    this.#served();
    this.memory.lookAtValidity(folder, opened.uidValidity);
  }

  async #list(range: string): Promise<readonly Listed[]> {
    const { mailbox } = this.#session;
    if (mailbox === false) throw new ImapGone('the folder is closed');
    if (mailbox.exists === 0) return [];
    const query = { uid: true, flags: true, envelope: true };
    const messages = await this.#session.fetchAll(range, query, { uid: true });
    // A listing that was cut short would look like messages gone.
    if (this.#session.mailbox === false) throw new ImapGone('dropped while listing');
    this.#served();
    return messages.map(({ uid, flags, envelope }) => ({
      uid,
      flags: flags ?? new Set(),
      messageId: envelope?.messageId ?? '',
    }));
  }

  async #read(folder: string, uid: number): Promise<void> {
    const message = await this.#session.fetchOne(String(uid), { source: true }, { uid: true });
    if (this.#session.mailbox === false) throw new ImapGone('dropped while reading');
    this.#served();
    const source = message ? message.source : undefined;
    const messageId = messageIdOf(parseHead(source ?? Buffer.alloc(0)));
    this.memory.fetched(folder, uid, messageId ?? 'nothing');
    await this.#store(folder, uid, '\\Seen', true);
  }

  async #flag(folder: string, uid: number): Promise<void> {
    const { random } = this.#options;
    await this.#store(folder, uid, random.pick(['\\Flagged', '$Label1']), random.next() < 0.6);
  }

  async #store(folder: string, uid: number, flag: string, set: boolean): Promise<void> {
    const { memory } = this;
    memory.storing(folder, uid, flag);
    const range = String(uid);
    const ok = set
      ? await this.#session.messageFlagsAdd(range, [flag], { uid: true })
      : await this.#session.messageFlagsRemove(range, [flag], { uid: true });
    this.#confirmed(ok);
    memory.stored(folder, uid, flag, set);
  }

  async #move(folder: string, uid: number): Promise<void> {
    const target = folder === done ? 'INBOX' : done;
    this.memory.moving(folder, uid);
    const moved = await this.#session.messageMove(String(uid), target, { uid: true });
    this.#confirmed(moved);
    this.memory.moved(folder, uid, target, moved ? moved.uidMap?.get(uid) : undefined);
  }

  async #expunge(folder: string, uid: number): Promise<void> {
    const { memory } = this;
    await this.#store(folder, uid, '\\Deleted', true);
    memory.expunging(folder, uid);
    this.#confirmed(await this.#session.messageDelete(String(uid), { uid: true }));
    memory.expunged(folder, uid);
  }

  async #append(): Promise<void> {
    const { mailbox } = this.#options;
    const messageId = newMessageId(mailbox.slice(mailbox.indexOf('@') + 1));
    const content = render({
      messageId,
      from: mailbox,
      recipients: [mailbox],
      subject: 'appended by a mail program',
      size: 2000,
    });
    this.memory.appending(messageId);
    const appended = await this.#session.append(sent, content, ['\\Seen']);
    this.#confirmed(appended);
    this.memory.appended(sent, messageId, appended ? appended.uid : undefined);
  }

  /** imapflow answers false both for NO and for a dropped connection: in doubt either way. */
  #confirmed(answer: unknown): void {
    if (!answer) throw new ImapGone('not confirmed');
    this.#served();
  }

  #served(): void {
    this.presence.served(this.#address);
  }

  get #session(): ImapFlow {
    if (!this.#imap) throw new ImapGone('not connected');
    return this.#imap;
  }
}

import { Resolver } from 'node:dns/promises';
import { createTransport } from 'nodemailer';
import { domains, mailName, network, virtualUser } from '../lab/world.ts';

/** Milliseconds from one message to the next; as exact as a downtime measured with it can be. */
const interval = 50;
/** Milliseconds after which a server that says nothing counts as one that is not there. */
const patience = 2000;

/**
 * A world that always has mail: a new message every 50 ms, to the next mailbox, at the address that the
 * zone has by then. Nothing is sent again: the next message knocks soon enough.
 */
export class SteadySender {
  readonly #dns = new Resolver({ timeout: patience, tries: 1 });
  readonly #mailboxes: number;
  readonly #underWay = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #sent = 0;

  /** @param mailboxes how many plain mailboxes the hosts have */
  constructor(mailboxes: number) {
    this.#mailboxes = mailboxes;
    this.#dns.setServers([network.dns.v4]);
    this.#timer = setInterval(() => {
      this.#sent += 1;
      const attempt = this.#send(this.#sent).catch(() => undefined);
      this.#underWay.add(attempt);
      attempt.finally(() => this.#underWay.delete(attempt));
    }, interval);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled(this.#underWay);
  }

  async #send(index: number): Promise<void> {
    const [host = ''] = await this.#dns.resolve4(mailName);
    const transport = createTransport({
      host,
      port: 25,
      ignoreTLS: true,
      connectionTimeout: patience,
      greetingTimeout: patience,
      socketTimeout: 10 * patience,
    });
    try {
      await transport.sendMail({
        from: 'post@elsewhere.example',
        to: virtualUser((index % this.#mailboxes) + 1),
        subject: `${index} to ${domains.virtual}`,
        text: 'x'.repeat(2000),
      });
    } finally {
      transport.close();
    }
  }
}

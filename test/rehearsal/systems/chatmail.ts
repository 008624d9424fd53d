import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { shownFor } from '../../e2e/migration.ts';
import { makeCheckout } from '../../lab/chatmail/checkout.ts';
import { probeUser, relay, relayUser } from '../../lab/chatmail/relay.ts';
import { startRelayLab } from '../../lab/profile-chatmail.ts';
import { type MailboxPlace, places } from '../layout.ts';
import {
  movedWhole,
  newAccountWorks,
  newSigns,
  sameCertificate,
  unitsAsTheyShould,
} from './chatmail-looks.ts';
import type { RehearsedSystem, Scene } from './system.ts';

/** Path, on this machine, of what stands for the user's checkout of the relay repository. */
export function checkoutOf({ lab }: Pick<Scene, 'lab'>): string {
  return join(lab.folder, 'relay');
}

/** Fields of the migration file of the lab's relay. */
export function relayMigration(): Record<string, unknown> {
  return {
    ...shownFor('chatmail'),
    domains: [relay.domain],
    carry: [],
    probe: { mailbox: probeUser },
  };
}

export const system: RehearsedSystem = {
  freeze: 'hold',
  logsServing: true,
  population: { user: relayUser, hasRoles: false, host: relay.domain, takesPlain: false },
  async start({ mailboxes, messages }) {
    const lab = await startRelayLab({ mailboxes, messagesPerMailbox: messages });
    await makeCheckout(checkoutOf({ lab }));
    return lab;
  },
  migration: relayMigration,
  places: relayPlaces,
  async inputs(scene, stage): Promise<Readonly<Record<string, string>>> {
    return ['plan', 'prepare', 'freeze', 'activate'].includes(stage)
      ? { cmdeploy: checkoutOf(scene) }
      : {};
  },
  frozen: movedWhole,
  async settled(scene, traffic) {
    const revision = readFileSync(join(checkoutOf(scene), '.git/refs/heads/main'), 'utf8').trim();
    const looks = await Promise.all([
      sameCertificate(),
      newAccountWorks(),
      newSigns(traffic.sink),
      unitsAsTheyShould(scene, revision),
    ]);
    return looks.flat();
  },
};

function relayPlaces(root: string, plain: number): readonly MailboxPlace[] {
  const users = Array.from({ length: plain }, (_, index) => relayUser(index + 1));
  return places(root, [{ domain: relay.domain, maildir: `${relay.mailboxes}/%n@%d` }], users);
}

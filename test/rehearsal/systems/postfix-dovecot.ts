import { startMailLab } from '../../lab/profile-postfix-dovecot.ts';
import { labPlaces } from '../layout.ts';
import { orchard } from '../population.ts';
import type { RehearsedSystem } from './system.ts';

export const system: RehearsedSystem = {
  freeze: 'hold',
  population: orchard,
  logsServing: true,
  async start({ mailboxes, messages, newSuite }) {
    const { lab } = await startMailLab({ mailboxes, messagesPerMailbox: messages, newSuite });
    return lab;
  },
  migration: () => ({}),
  places: labPlaces,
};

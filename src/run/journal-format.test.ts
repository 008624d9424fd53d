import { expect, it } from 'vitest';
import { version } from '../actions/version.ts';
import type { Entry } from '../engine/journal.ts';
import { journalFormat, refuseOtherFormat, writtenBy } from './journal-format.ts';

const begin = (data: Record<string, unknown>) =>
  ({ kind: 'stage-begin', stage: 'prepare', data }) as unknown as Entry;

it('goes on with an empty journal, with its own, and with one of another version', () => {
  refuseOtherFormat([]);
  refuseOtherFormat([begin(writtenBy())]);
  refuseOtherFormat([begin({ version: '0.0.1', format: journalFormat })]);
});

it('refuses another format, older or newer, and names the version to go on with', () => {
  for (const format of [journalFormat + 1, journalFormat - 1])
    expect(() => refuseOtherFormat([begin({ version: '9.9.9', format })])).toThrow(
      `begun with mail-cutover 9.9.9, whose journal has format ${format}; this is ${version}, with format ${journalFormat}. Go on with the version that began it`,
    );
});

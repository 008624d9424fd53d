import { createHash } from 'node:crypto';
import { type EntryData, sealed, type UndoNews } from '../../src/engine/journal.ts';
import { type ApprovedPlan, digestOf } from '../../src/report/plan-difference.ts';

/*
 * For tests and for looking at pages: the journal of a migration with everything in it that a page
 * has to show, and text that tries to be markup.
 */

const nasty = '</script><script>alert(1)</script> <img src=x onerror=alert(1)> <b>"\'&\u202e';

const plan: ApprovedPlan = {
  migration: '{"name":"orchard"}',
  version: '1.2.3',
  plan: { stores: ['/srv/mail'], carried: [], fingerprints: { old: 'a', new: 'b' }, rrsets: [] },
  titles: ['Fence NEW'],
};

/** Lines of a journal, chained as on a host. */
export function exampleJournal(): readonly string[] {
  const lines: string[] = [];
  let clock = Date.UTC(2026, 10, 20, 18);
  const sum = (name: string) => createHash('sha256').update(name).digest('hex');
  const add = (seconds: number, data: EntryData & { readonly undo?: UndoNews }) => {
    clock += seconds * 1000;
    const origin = { actor: 'ada', run: '1017', attempt: 1, commit: '0c4d5e6f'.repeat(5) };
    const entry = {
      seq: lines.length + 1,
      time: new Date(clock).toISOString(),
      lock: 3,
      ...origin,
      planDigest: digestOf(plan),
      ...data,
      prev: createHash('sha256')
        .update(lines.at(-1) ?? '')
        .digest('hex'),
    };
    lines.push(sealed(entry));
  };
  const stage = (
    name: string,
    gate: object,
    steps: readonly (readonly [number, string, string])[],
    ok = true,
  ) => {
    const data = {
      dispatchedBy: 'ada',
      url: 'https://github.com/o/r/actions/runs/1017/attempts/1',
      gate,
    };
    add(600, { kind: 'stage-begin', stage: name, data });
    for (const [index, [seconds, title, evidence]] of steps.entries()) {
      const step = `step-${index}`;
      const good = ok || index < steps.length - 1;
      add(0.2, { kind: 'intent', stage: name, step, text: title });
      add(seconds, { kind: 'outcome', stage: name, step, ok: good, text: evidence });
    }
    add(0.1, { kind: 'stage-end', stage: name, ok, ...(ok ? {} : { text: `failed: ${nasty}` }) });
  };
  const approved = (environment: string, comment: string, more: object = {}) => ({
    environment,
    passage: 'approved',
    approvals: [{ by: 'bob', comment }],
    ambiguous: false,
    time: '2026-11-20T18:09:00Z',
    ...more,
  });
  const open = {
    environment: 'mail-activate',
    passage: 'unapproved',
    approvals: [],
    ambiguous: false,
    notLaterThan: '2026-11-21T09:00:00Z',
    reason: 'the environment mail-activate was passed without an approval',
  };
  stage('prepare', approved('mail-prepare', 'looks right'), [
    [2.1, 'Bring the TTL of mail.orchard.example A to 60 s at most', '3600 s → 60 s'],
    [4.3, 'Fence NEW', 'nothing starts at boot'],
  ]);
  add(0.1, { kind: 'note', stage: 'prepare', step: 'plan', data: { plan } });
  const rrset = { name: 'mail.orchard.example', type: 'A', ttl: 3600, values: [nasty] };
  add(0.1, { kind: 'note', stage: 'prepare', step: 'rrset-before', data: rrset });
  const told = (what: string, name: string, held: string) =>
    `fence/${name.replaceAll(' ', '_')} ${what} ${sum(held)}`;
  const made = [told('made', '0000-stop-dovecot', 'a'), told('made', `0001-${nasty}`, 'b')];
  const gone = [told('gone', '0000-stop-dovecot', 'a'), told('gone', `0001-${nasty}`, 'c')];
  add(0.1, { kind: 'note', stage: 'prepare', text: 'one', undo: { new: made } });
  add(0.1, { kind: 'note', stage: 'prepare', text: 'two', undo: { new: gone } });
  stage('transfer live', approved('mail-transfer-live', ''), [
    [312, 'Copy while OLD serves', '300 mailboxes, 9.1 GB'],
  ]);
  stage(
    'freeze',
    approved('mail-freeze', nasty),
    [
      [3, 'Hold deliveries', ''],
      [30, 'Wait until no delivery agent holds a message', nasty],
    ],
    false,
  );
  stage('freeze', approved('mail-freeze', 'window agreed with support', { ambiguous: true }), [
    [1.2, 'Hold deliveries', 'held by a transport of its own'],
    [2.8, 'Close IMAP and POP3', '41 sessions ended'],
  ]);
  add(0.1, { kind: 'note', stage: 'freeze', step: 'limit', text: 'OLD thaws by itself at 18:45' });
  stage('transfer final', approved('mail-transfer-final', 'go'), [
    [5.5, 'Copy what changed since the last pass', '212 files'],
    [3.9, 'Compare both hosts', 'equal: 300 mailboxes'],
  ]);
  stage('activate', open, [
    [0.4, 'OLD gives service away', 'released'],
    [1.3, 'Open NEW', 'port 993 answers'],
  ]);
  return lines;
}

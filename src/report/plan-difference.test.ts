import { expect, it } from 'vitest';
import { type ApprovedPlan, planDifference } from './plan-difference.ts';

const record = { name: 'mail.orchard.example', type: 'A', ttl: 300 };
const file = { freeze: { mode: 'hold' }, domains: ['orchard.example'], dns: [{ zone: 'a' }] };
const plan: ApprovedPlan = {
  migration: JSON.stringify(file),
  version: '1.0.0',
  plan: {
    stores: ['/var/vmail'],
    carried: [],
    fingerprints: { old: 'aa', new: 'bb' },
    rrsets: [
      {
        before: { ...record, values: ['192.0.2.1'] },
        after: { ...record, values: ['192.0.2.2'] },
      },
    ],
  },
  titles: ['One', 'Two'],
};

const differs = (changes: Partial<ApprovedPlan>) => planDifference(plan, { ...plan, ...changes });
const inFile = (changes: object) => differs({ migration: JSON.stringify({ ...file, ...changes }) });
const inPlan = (changes: object) => differs({ plan: { ...plan.plan, ...changes } });

it('is nothing between a plan and itself', () => {
  expect(differs({})).toEqual([]);
});

it.each([
  [differs({ version: '1.1.0' }), 'version of mail-cutover: 1.0.0 → 1.1.0'],
  [inFile({ freeze: { mode: 'stop' } }), 'migration file: freeze.mode: hold → stop'],
  [inFile({ dns: [{ zone: 'b' }] }), 'migration file: dns.0.zone: a → b'],
  [inFile({ probe: 'x' }), 'migration file: probe: nothing → x'],
  [
    inFile({ domains: ['orchard.example', 'b.example'] }),
    'migration file: domains: now also b.example',
  ],
  [inPlan({ stores: ['/srv/mail'] }), 'mail stores: /var/vmail → /srv/mail'],
  [
    inPlan({ fingerprints: { old: 'aa', new: 'cc' } }),
    'configuration of NEW, as a fingerprint: bb → cc',
  ],
  [
    inPlan({
      rrsets: [
        {
          before: { ...record, values: ['192.0.2.9'] },
          after: { ...record, values: ['192.0.2.2'] },
        },
      ],
    }),
    'DNS: mail.orchard.example A now: no longer 192.0.2.1; now also 192.0.2.9',
  ],
  [differs({ titles: ['Two', 'One'] }), 'steps: in another order'],
  [differs({ titles: ['Two'] }), 'steps: no longer One'],
])('names the part and both values: %j', (lines, line) => {
  expect(lines).toEqual([line]);
});

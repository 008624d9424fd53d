import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainText, type Report, refusal, summary } from './summary.ts';

/** What a reader sees: the entities decoded. */
const shown = (text: string) =>
  text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));
const source = (text: string) => text.replace(/&#\d+;/g, '');

describe('plainText', () => {
  it.each([
    ['<script>alert(1)</script>', /[<>]/],
    ['[click](https://evil.example)', /[[\]]|:\/\//],
    ['![x](http://evil.example/track.png)', /!|:\/\//],
    ['see https://evil.example and HTTP://x', /:\/\//],
    ['WWW.evil.example', /www\./i],
    ['a | b', /\|/],
    ['`code` *bold* _x_ ~~gone~~ # title', /[`*_~#]/],
    ['@octocat', /@/],
    ['&lt;b&gt; &#60;', /&/],
    ['a\\|b', /\\/],
    ['- item', /^-/],
    ['+ item', /^\+/],
    ['12. item', /^\d+\./],
    ['    code', /^ /],
    ['a\n\n# title\r\n| cell |', /[\n\r#|]/],
  ])('leaves no markup in %j', (text, markup) => {
    expect(source(plainText(text))).not.toMatch(markup);
    expect(shown(plainText(text))).toBe(text.replace(/\s+/g, ' ').trim());
  });

  it('shows what it was given, whatever it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme-ascii', maxLength: 30 }), (text) => {
        expect(shown(plainText(text))).toBe(text.replace(/\s+/g, ' ').trim());
        expect(source(plainText(text))).not.toMatch(/[\\`*_{}[\]<>#|~!@&\n]/);
      }),
    );
  });

  it('shows control characters and turned writing as such', () => {
    expect(plainText('a\u001b[31mb\u202ec\0')).toBe('a\ufffd&#91;31mb\ufffdc\ufffd');
  });

  it('leaves plain text readable', () => {
    expect(plainText('OLD (192.0.2.1): 12 messages, Dovecot 2.3.19.1; 5-7 min')).toBe(
      'OLD (192.0.2.1): 12 messages, Dovecot 2.3.19.1; 5-7 min',
    );
  });
});

describe('summary', () => {
  const report: Report = {
    migration: 'example',
    stage: 'freeze',
    dryRun: false,
    state: 'frozen',
    nextStage: 'transfer final',
    planDigest: 'abc',
    steps: [],
    findings: [],
    rrsets: [],
    seconds: 1,
  };

  it('has a row a step, and nothing of a host ends a cell', () => {
    const text = summary({
      ...report,
      steps: [
        { id: 'a', title: 'Do | it', result: 'done', milliseconds: 1234, evidence: 'x | y\n| z' },
        { id: 'b', title: 'Then', result: 'failed', milliseconds: 5 },
      ],
    });
    const folded = text.slice(text.indexOf('<details>'));
    const rows = folded.split('\n').filter((line) => line.startsWith('|'));
    expect(rows).toHaveLength(4);
    for (const row of rows) expect(row.split('|')).toHaveLength(6);
    expect(rows[2]).toContain('| ✅ done | 1.23 s |');
    expect(rows[3]).toContain('❌ failed');
  });

  it('puts what is in the way first, each with its cure', () => {
    const text = summary({
      ...report,
      dryRun: true,
      downtimeSeconds: 12.3,
      findings: [
        { severity: 'warns', text: 'small', cure: 'later' },
        { severity: 'blocks', text: 'large', cure: 'now' },
      ],
      rrsets: ['mail.example A: 192.0.2.1 → 192.0.2.2'],
    });
    expect(text).toMatch(
      /^## example: freeze \(dry run\)\n\n> \[!CAUTION\]\n> \*\*Nothing was changed/,
    );
    expect(text).toContain('mailboxes were away for **12 s**');
    expect(text.indexOf('- large. *Cure: now.*')).toBeLessThan(
      text.indexOf('- small. *Cure: later.*'),
    );
    expect(text).toContain('### DNS\n\n- mail.example A: 192.0.2.1 → 192.0.2.2');
  });

  const runbook = [
    { stage: 'transfer live', titles: ['Copy'], measured: 95 },
    { stage: 'freeze', titles: ['One', 'Two', 'Three', 'Four|'], measured: 4 },
    { stage: 'transfer final', titles: ['Copy'], measured: 6 },
    { stage: 'activate', titles: ['Open'], measured: 2.04 },
  ];

  it('of a plan says what is decided, what will happen, and how long it took before', () => {
    const waits = { number: 2, last: undefined };
    const text = summary({ ...report, stage: 'plan', runbook, waits });
    expect(
      summary({ ...report, stage: 'plan', runbook, waits: { number: 2, last: 400 } }),
    ).toContain('on top: about **13 min 20 s**, for the last one took 6 min 40 s');
    expect(text).toContain('the plan with the digest `abc`');
    expect(text).toContain(
      'about **12 s**, as last measured, and 2 approvals and runner starts on top',
    );
    expect(text).toContain('| **freeze** | One; Two; and 2 more | 4 s |');
    expect(text).toContain('  - Four&#124;');
    const unmeasured = runbook.map(({ measured, ...stage }) =>
      stage.stage === 'transfer live' ? { ...stage, measured } : stage,
    );
    expect(summary({ ...report, stage: 'plan', runbook: unmeasured })).toContain(
      'not measured yet (the last live pass took 1 min 35 s)',
    );
  });

  it('says who approved, what changed, and what failed', () => {
    expect(summary({ ...report, stateBefore: 'copied', gate: 'ada ("go | on")' })).toMatch(
      /\| State \| copied → \*\*frozen\*\* \|[\s\S]*\| Approval \| ada \("go &#124; on"\) \|/,
    );
    expect(summary({ ...report, failure: 'OLD (x): <b> no' })).toContain(
      '> [!CAUTION]\n> **Failed:** OLD (x): &#60;b&#62; no',
    );
  });

  it('of a refusal says so, what is other than approved, and from where to go on', () => {
    const text = summary({
      ...report,
      failure: 'the plan is not the one',
      refused: true,
      differences: ['freeze.mode: hold → stop', '<b>'],
      goingOn: ['Dispatch with `from: plan`.'],
    });
    expect(text).toContain('**Refused, and nothing was changed:** the plan is not the one');
    expect(text).toContain(
      '### What is other than in the approved plan\n\n- freeze.mode: hold → stop\n- &#60;b&#62;',
    );
    expect(text).toContain('### To go on\n\n- Dispatch with `from: plan`.');
  });

  it('shows the whole plan where what is other can not be told', () => {
    const text = summary({
      ...report,
      failure: 'the plan is not the one',
      refused: true,
      differences: [],
      covered: ['mail stores: /srv/mail'],
    });
    expect(text).toContain('Compare **What the digest covers** below with the same in its summary');
    expect(text).toContain('<summary>What the digest covers</summary>\n\n- mail stores: /srv/mail');
  });

  it('of an action that has no report has every reason', () => {
    expect(refusal('plan', 'input ssh-key: is <b>missing', ['Hint.'])).toMatch(
      /^## plan\n\n> \[!CAUTION\]\n> \*\*Stopped:\*\* input ssh-key: is &#60;b&#62;missing\n\n### To go on\n\n- Hint\.\n/,
    );
    expect(refusal('plan', 'one\ntwo', [])).toContain('### What is in the way\n\n- one\n- two');
  });

  it('stays far below the limit of 1 MiB, and one screen before the folds, whatever is in it', () => {
    const long = '<|&'.repeat(5000);
    const text = summary({
      ...report,
      runbook: Array.from({ length: 9 }, () => ({ stage: 'x', titles: Array(300).fill(long) })),
      steps: Array(5000).fill({ id: 'a', title: long, result: 'done', milliseconds: 1 }),
      findings: Array(5000).fill({ severity: 'warns', text: 'b', cure: 'c' }),
      rrsets: Array(5000).fill(long),
    });
    expect(Buffer.byteLength(text)).toBeLessThan(1_000_000);
    const unfolded = text.replace(/<details>[\s\S]*?<\/details>/g, '');
    expect(unfolded.split('\n').filter(Boolean).length).toBeLessThan(45);
    expect(text).toContain('- and 4794 more');
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainText, type Report, summary } from './summary.ts';

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
    const rows = text.split('\n').filter((line) => line.startsWith('|'));
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
    expect(text).toMatch(/^## example: freeze \(dry run\)\n/);
    expect(text).toContain('Mailboxes were away for **12.3 s**.');
    expect(text.indexOf('- large. *Cure: now.*')).toBeLessThan(
      text.indexOf('- small. *Cure: later.*'),
    );
    expect(text).toContain('### DNS\n\n- mail.example A: 192.0.2.1 → 192.0.2.2');
  });
});

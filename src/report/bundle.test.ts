import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exampleJournal } from '../../test/audit/example-journal.ts';
import { auditPage } from './audit.ts';
import { auditScript } from './audit-script.ts';
import { checkBundle, writeBundle } from './bundle.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const lines = exampleJournal();

interface PageFunctions {
  readonly sha256: (text: string) => string;
  readonly checkChain: (lines: readonly string[]) => { ok: boolean; line?: number; head?: string };
}
const page = runInNewContext(`${auditScript}; ({ sha256, checkChain })`, {
  TextEncoder,
}) as PageFunctions;

describe("the page's own script", () => {
  it('hashes as everybody does', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
        expect(page.sha256(text)).toBe(sha256(text));
      }),
    );
  });

  it('finds the chain whole, and each line that was changed', () => {
    expect({ ...page.checkChain(lines) }).toEqual({ ok: true, head: sha256(lines.at(-1) ?? '') });
    for (const index of [0, 7, lines.length - 1]) {
      const edited = lines.with(
        index,
        (lines[index] ?? '').replace('"actor":"ada"', '"actor":"eve"'),
      );
      expect(page.checkChain(edited)).toMatchObject({ ok: false, line: index + 1 });
    }
    expect(page.checkChain(lines.toSpliced(3, 1))).toMatchObject({ ok: false, line: 4 });
    expect(page.checkChain(['no JSON'])).toMatchObject({ ok: false, line: 1 });
  });
});

describe('the page', () => {
  const html = auditPage('orchard', lines);

  it('loads nothing, and runs nothing but its own script', () => {
    expect(html).not.toMatch(/<[^>]*\b(src|href)=/);
    expect(html).toContain("default-src 'none'");
    const hash = createHash('sha256').update(auditScript).digest('base64');
    expect(html).toContain(`script-src 'sha256-${hash}'`);
    expect(html).toContain(`<script>${auditScript}</script>`);
  });

  it('takes nothing of the journal for markup', () => {
    expect(lines.join('')).toContain('</script><script>alert(1)');
    expect(html).not.toMatch(/<script>alert|<img|<b>/);
    expect(html.match(/<script/g)).toHaveLength(2);
  });

  it('says who approved, with what comment, and what nobody did', () => {
    expect(html).toContain('bob');
    expect(html).toContain('window agreed with support');
    expect(html).toContain('the environment mail-activate was passed without an approval');
    expect(html).toContain('OLD thaws by itself at 18:45');
    expect(html).toContain('type A, ttl 3600, values [&#34;&#60;/script');
    expect(html).toContain('as plans.json holds it');
    expect(html).toContain('(ambiguous: several approvals or attempts)');
  });

  it('is made of an empty journal too', () => {
    expect(auditPage('orchard', [])).toContain('The journal is empty.');
  });
});

describe('a bundle', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bundle-'));
    const versions = { 'mail-cutover': '1.2.3' };
    await writeBundle(folder, {
      migration: 'orchard',
      lines,
      report: '{}',
      summary: '# x',
      versions,
    });
  });
  afterEach(() => rm(folder, { recursive: true }));

  const edit = async (name: string, from: string, to: string) => {
    const text = await readFile(join(folder, name), 'utf8');
    expect(text).toContain(from);
    await writeFile(join(folder, name), text.replace(from, to));
  };

  it('is whole, by its folder and by its journal alone', async () => {
    const { migration, head, evidence } = await checkBundle(folder);
    expect({ migration, head }).toEqual({ migration: 'orchard', head: sha256(lines.at(-1) ?? '') });
    expect(evidence).toHaveLength(6);
    expect(evidence[1]).toBe('undo records: 2 were made, 2 of them undone or dropped');
    expect(evidence[2]).toMatch(/^NEW: undo record fence\/0001-.* was changed between its making/);
    expect(evidence.at(-1)).toBe(
      'plans.json: 1 of the journal, each with the digest that was approved',
    );
    expect((await checkBundle(join(folder, 'journal.jsonl'))).head).toBe(head);
  });

  it('with an edited journal is refused, by the line', async () => {
    await edit('journal.jsonl', '"actor":"ada"', '"actor":"eve"');
    await expect(checkBundle(folder)).rejects.toThrow('line 1 of the journal was changed');
  });

  it('with a journal that was cut off is refused', async () => {
    await writeFile(join(folder, 'journal.jsonl'), `${lines.join('\n')}`);
    await expect(checkBundle(join(folder, 'journal.jsonl'))).rejects.toThrow('is cut off');
  });

  it('with another plan than the one of its digest is refused, whatever else fits', async () => {
    const before = sha256(await readFile(join(folder, 'plans.json'), 'utf8'));
    await edit('plans.json', 'orchard', 'villa');
    await edit('SHA256SUMS', before, sha256(await readFile(join(folder, 'plans.json'), 'utf8')));
    await expect(checkBundle(folder)).rejects.toThrow('does not hold the plans of the journal');
  });

  it.each(['report.json', 'summary.md', 'versions.json'])(
    'with an edited %s is refused',
    async (name) => {
      await writeFile(join(folder, name), 'other');
      await expect(checkBundle(folder)).rejects.toThrow(`not as SHA256SUMS lists it: ${name}`);
    },
  );

  it('with an edited page is refused, also where its sum was made to fit', async () => {
    const before = sha256(await readFile(join(folder, 'audit.html'), 'utf8'));
    await edit('audit.html', 'window agreed', 'window not agreed');
    await edit('SHA256SUMS', before, sha256(await readFile(join(folder, 'audit.html'), 'utf8')));
    await expect(checkBundle(folder)).rejects.toThrow('is not the page that the journal makes');
  });

  it('that is not there is one clear line', async () => {
    await expect(checkBundle('/nowhere/x')).rejects.toThrow("/nowhere/x: can't be read");
  });
});

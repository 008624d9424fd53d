import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AxeResults } from 'axe-core';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { auditPage } from '../../src/report/audit.ts';
import { exampleJournal } from '../audit/example-journal.ts';

/*
 * The page of an audit bundle in a real browser, opened as a file. With SCREENSHOTS=DIR it leaves
 * pictures to look at. Skipped where there is no Chromium or Chrome.
 */

const program = (process.env.PATH ?? '')
  .split(delimiter)
  .flatMap((folder) => ['chromium', 'google-chrome'].map((name) => join(folder, name)))
  .find((path) => existsSync(path));
const pictures = process.env.SCREENSHOTS;
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

const sizes = { narrow: { width: 360, height: 740 }, wide: { width: 1280, height: 900 } } as const;
const views = (['narrow', 'wide'] as const).flatMap((size) =>
  (['light', 'dark'] as const).map((scheme) => ({ size, scheme })),
);

describe.skipIf(program === undefined)('audit.html', () => {
  const folder = mkdtempSync(join(tmpdir(), 'audit-page-'));
  const lines = exampleJournal();
  const whole = join(folder, 'audit.html');
  const edited = join(folder, 'edited.html');
  let browser: Browser;

  beforeAll(async () => {
    const html = auditPage('orchard', lines);
    writeFileSync(whole, html);
    // As the page has it: JSON within JSON.
    writeFileSync(edited, html.replace('\\"actor\\":\\"ada\\"', '\\"actor\\":\\"eve\\"'));
    browser = await puppeteer.launch({
      executablePath: program ?? '',
      // Root has no sandbox of its own, and this opens only our own file.
      args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    });
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  async function open(file: string, size: keyof typeof sizes, scheme: string): Promise<Page> {
    const page = await browser.newPage();
    await page.setViewport(sizes[size]);
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.goto(pathToFileURL(file).href);
    return page;
  }

  it.each(views)(
    'is accessible, fits and complains of nothing: $size, $scheme',
    async ({ size, scheme }) => {
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on('console', (message) => complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(String(error)));
      page.on('dialog', (dialog) => {
        complaints.push(dialog.message());
        void dialog.dismiss();
      });
      await page.setViewport(sizes[size]);
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.goto(pathToFileURL(whole).href);
      // Its policy lets nothing else in, and that is looked at elsewhere.
      expect(complaints).toEqual([]);
      if (pictures !== undefined) {
        mkdirSync(pictures, { recursive: true });
        const path = join(pictures, `${size}-${scheme}.png`) as `${string}.png`;
        await page.screenshot({ path, fullPage: true });
      }
      await page.$$eval('details', (all) => {
        for (const each of all) each.open = true;
      });
      const overflow = await page.evaluate(
        'document.documentElement.scrollWidth - document.documentElement.clientWidth',
      );
      expect(overflow).toBe(0);
      if (pictures !== undefined) {
        const path = join(pictures, `${size}-${scheme}-open.png`) as `${string}.png`;
        await page.screenshot({ path, fullPage: true });
      }
      await page.setBypassCSP(true);
      await page.reload();
      await page.$$eval('details', (all) => {
        for (const each of all) each.open = true;
      });
      await page.addScriptTag({ path: axe });
      const { violations } = (await page.evaluate('axe.run()')) as AxeResults;
      expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)).toEqual([]);
      await page.close();
    },
  );

  it('checks the chain by itself', async () => {
    const page = await open(whole, 'wide', 'light');
    expect(await page.$eval('#chain', (place) => place.textContent)).toBe(
      `Whole: each of the ${lines.length} lines holds its own hash and that of the one before.`,
    );
    expect(await page.$eval('#head', (place) => place.textContent)).toMatch(/^[0-9a-f]{64}$/);
    await page.close();
  });

  it('says which line was changed', async () => {
    const page = await open(edited, 'wide', 'light');
    expect(await page.$eval('#chain', (place) => place.textContent)).toBe(
      'Broken: line 1 was changed or is missing.',
    );
    await page.close();
  });
});

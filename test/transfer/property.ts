import { existsSync, lstatSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { LocalMirror, type MirrorResult, type Side } from './local-mirror.ts';
import { MirrorServer } from './mirror-server.ts';
import { RandomStore, stream } from './random-store.ts';
import { treeImage } from './tree-image.ts';

/**
 * Random stores and random changes; live, live, final; often back again: after every final pass both
 * trees are equal to the byte, with mtimes, owners, modes and links.
 *
 *     node test/transfer/property.ts --runs 2000 --seed 1
 */

/** One run. Throws with the first differences. `server`: see `LocalMirror`. */
export async function tryOnce(
  seed: number,
  server?: MirrorServer,
): Promise<Readonly<Record<string, number>>> {
  const random = stream(seed);
  // Either the program's own caution, with changes while a pass runs, or none and no such change:
  // else no note would ever be young enough to be trusted here.
  const isCautious = random() < 0.4;
  const mirror = new LocalMirror(isCautious ? undefined : -1000, server, {}, seed % 2 === 1);
  try {
    const [left, right] = [mirror.side('left'), mirror.side('right')];
    new RandomStore(left.root, random).make();
    if (random() < 0.3) new RandomStore(right.root, random).make();
    let sides: readonly [Side, Side] = [left, right];
    let total: Record<string, number> = {};
    for (let round = 1 + Math.floor(random() * 3); round > 0; round -= 1) {
      total = sum(total, await liveLiveFinal(mirror, sides, random, isCautious));
      if (random() < 0.5) sides = [sides[1], sides[0]];
    }
    return total;
  } finally {
    await mirror.remove();
  }
}

async function liveLiveFinal(
  mirror: LocalMirror,
  [source, target]: readonly [Side, Side],
  random: () => number,
  isCautious: boolean,
): Promise<Readonly<Record<string, number>>> {
  const store = new RandomStore(source.root, random);
  for (let live = Math.floor(random() * 3); live > 0; live -= 1) {
    for (const part of someParts(random)) {
      const pass = mirror.pass(source, target, 'store', part);
      if (isCautious) await changeMeanwhile(store, random, pass);
      await pass;
    }
    await newTick(mirror);
    if (random() < 0.1) forget(source, target, random);
    if (random() < 0.05) editTarget(target, random);
    store.change(Math.floor(random() * 12));
    await newTick(mirror);
  }
  if (random() < 0.2) await mirror.cut(source, target, random() * 150);
  const { counts } = await finalPass(mirror, [source, target], store, random);
  demandEqual(source.root, target.root);
  await newTick(mirror);
  return counts;
}

/** The whole at once, one part, or all parts one after the other. */
function someParts(random: () => number): readonly string[] {
  const count = random() < 0.3 ? 1 + Math.floor(random() * 3) : 1;
  const all = Array.from({ length: count }, (_, index) => `${index + 1}/${count}`);
  return random() < 0.5 ? all : [all[Math.floor(random() * count)] ?? '1/1'];
}

/** At once, or over a connection that was opened before the last changes. */
async function finalPass(
  mirror: LocalMirror,
  [source, target]: readonly [Side, Side],
  store: RandomStore,
  random: () => number,
): Promise<MirrorResult> {
  if (random() < 0.6) return mirror.pass(source, target);
  await mirror.hold(source, target);
  store.change(Math.floor(random() * 6));
  await newTick(mirror);
  // A first pass has no note to be held with.
  return mirror.go(source).catch((error: Error) => {
    if (!error.message.includes('exit code 6')) throw error;
    return mirror.pass(source, target);
  });
}

/** The kernel's clock for ctimes has moved on: what comes now can be told from what was. */
export async function newTick(mirror: LocalMirror): Promise<void> {
  const path = join(mirror.temporary, 'tick');
  const ctime = () => {
    writeFileSync(path, '');
    return lstatSync(path, { bigint: true }).ctimeNs;
  };
  for (const before = ctime(); ctime() === before; ) await sleep(1);
}

async function changeMeanwhile(
  store: RandomStore,
  random: () => number,
  pass: Promise<unknown>,
): Promise<void> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  pass.then(over, over);
  for (let left = Math.floor(random() * 20); left > 0 && !isOver; left -= 1) {
    store.change(1);
    await sleep(1);
  }
}

/** What a host that was lost or set back does not know any more. */
function forget(source: Side, target: Side, random: () => number): void {
  if (random() < 0.5) rmSync(join(source.folder, 'transfer-note'), { force: true });
  else rmSync(join(target.folder, 'transfer-token'), { force: true });
}

/** Somebody writes to the target; that it then drops its token stands for the comparison that finds it. */
function editTarget(target: Side, random: () => number): void {
  if (existsSync(target.root)) new RandomStore(target.root, random).change(2);
  rmSync(join(target.folder, 'transfer-token'), { force: true });
}

function demandEqual(source: string, target: string): void {
  const [there, here] = [treeImage(source), treeImage(target)];
  const [onSource, onTarget] = [new Set(there), new Set(here)];
  const different = [
    ...there.filter((line) => !onTarget.has(line)).map((line) => `source ${JSON.stringify(line)}`),
    ...here.filter((line) => !onSource.has(line)).map((line) => `target ${JSON.stringify(line)}`),
  ];
  if (different.length > 0) throw new Error(`differs:\n${different.slice(0, 20).join('\n')}`);
}

function sum(
  one: Readonly<Record<string, number>>,
  other: Readonly<Record<string, number>>,
): Record<string, number> {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return Object.fromEntries(
    [...names].map((name) => [name, (one[name] ?? 0) + (other[name] ?? 0)]),
  );
}

/** One run in ten has every process as on a host. */
export function runner(seed: number, server: MirrorServer): MirrorServer | undefined {
  return seed % 10 === 0 ? undefined : server;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { runs: { type: 'string', default: '1000' }, seed: { type: 'string', default: '1' } },
  });
  const first = Number(values.seed);
  let total: Record<string, number> = {};
  const server = new MirrorServer();
  for (let seed = first; seed < first + Number(values.runs); seed += 1) {
    try {
      total = sum(total, await tryOnce(seed, runner(seed, server)));
      const done = seed - first + 1;
      if (done % 100 === 0) console.log(`${done} runs`);
    } catch (error) {
      console.error(`seed ${seed}: ${error instanceof Error ? error.message : error}`);
      process.exitCode = 1;
      server.stop();
      return;
    }
  }
  server.stop();
  console.log(`${values.runs} runs from seed ${first}: always equal. ${JSON.stringify(total)}`);
}

if (import.meta.main) await main();

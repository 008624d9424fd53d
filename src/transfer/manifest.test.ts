import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Host } from '../hosts/host.ts';
import { type Depth, demandEqual, differences, type Manifest, manifests } from './manifest.ts';
import {
  box,
  compare,
  expectDifferent,
  LocalHost,
  old,
  setUpHosts,
  silentlyEdit,
  standIn,
  target,
  temporary,
  there,
  twins,
  twinsAgain,
  vmail,
} from './manifest-under-test.ts';

setUpHosts();

async function manifest(host: Host, path: string, depth: Depth): Promise<Manifest> {
  const [[only] = []] = await manifests([host], [path], depth);
  if (!only) throw new Error('no manifest');
  return only;
}

function broken(): LocalHost {
  const host = new LocalHost('old');
  host.path = join(temporary, 'stand-ins');
  return host;
}

describe('a manifest', () => {
  it.each<Depth>(['names', 'sample', 'full'])('of equal trees is equal (%s)', async (depth) => {
    twins();
    expect(await compare(depth)).toEqual([]);
    const [equal] = await demandEqual(old, target, [there], depth);
    expect(equal).toMatchObject({ path: there, digest: expect.stringMatching(/^[0-9a-f]{64}$/) });
    // 4 folders, 4 files, 1 link, and as many sums as the depth wants.
    expect(equal?.entries).toBe(9 + (depth === 'names' ? 1 : 4));
  });

  it('sees what is missing, new, renamed, larger', async () => {
    twins();
    rmSync(join(box(target), '1.M1.old:2,S'));
    await expectDifferent('names', /only on the source: f .*1\.M1\.old:2,S/);
    twinsAgain();
    writeFileSync(join(box(target), '9.M9.new'), 'x');
    await expectDifferent('names', /only on the target: f .*9\.M9\.new/);
    twinsAgain();
    renameSync(join(box(target), '1.M1.old:2,S'), join(box(target), '1.M1.old:2,ST'));
    await expectDifferent('names', /only on the target: f .*1\.M1\.old:2,ST/);
    twinsAgain();
    writeFileSync(join(box(target), '1.M1.old:2,S'), 'first message.');
    await expectDifferent('names', / 14 example.*1\.M1/);
  });

  it('sees another mode, mtime, file of several names, link target', async () => {
    twins();
    chmodSync(join(box(target), '1.M1.old:2,S'), 0o600);
    await expectDifferent('names', /only on the target: f [\d.]+ 600/);
    twinsAgain();
    const { atime, mtimeMs } = statSync(join(box(target), '1.M1.old:2,S'));
    utimesSync(join(box(target), '1.M1.old:2,S'), atime, mtimeMs / 1000 + 0.001);
    await expectDifferent('names', /1\.M1/);
    twinsAgain();
    utimesSync(box(target), atime, 1);
    await expectDifferent('names', /only on the target: d 1\.0+ \d+ \S+ example\.org\/alice\/cur/);
    twinsAgain();
    execFileSync('sh', [
      '-c',
      'cp -p "$1" "$1.x" && mv "$1.x" "$1" && touch -r "$2" "$3"',
      'sh',
      join(box(target), '3.M3.old:2,F'),
      box(old),
      box(target),
    ]);
    await expectDifferent(
      'names',
      /only on the source: h \S+3\.M3\.old:2,F\/\/\S+2\.M2\.old:2,(?:;|$)/m,
    );
    twinsAgain();
    rmSync(join(vmail(target), 'example.org/bob'));
    symlinkSync('../carol', join(vmail(target), 'example.org/bob'));
    await expectDifferent('names', /l .*bob\/\/\.\.\/carol/);
  });

  it.skipIf(process.getuid?.() !== 0)('sees another owner, by name', async () => {
    twins();
    execFileSync('chown', ['daemon:bin', join(box(target), '1.M1.old:2,S')]);
    await expectDifferent('names', /only on the target: f [\d.]+ \d+ daemon:bin /);
  });

  it('sees one byte that changed under the same size and mtime with full, and in a UID list always', async () => {
    twins();
    silentlyEdit(join(box(target), '1.M1.old:2,S'), 'First message');
    expect(await compare('names')).toEqual([]);
    await expectDifferent('full', /only on the target: [0-9a-f]{64} .*1\.M1\.old:2,S/);
    twinsAgain();
    silentlyEdit(join(vmail(target), 'example.org/alice/dovecot-uidlist'), '3 V2 N3');
    for (const depth of ['names', 'sample', 'full'] as const)
      await expectDifferent(depth, /dovecot-uidlist/);
  });

  it('samples the contents of a large tree, the same files on both hosts', async () => {
    mkdirSync(box(old), { recursive: true });
    for (let index = 0; index < 450; index += 1)
      writeFileSync(join(box(old), `${index}`), `${index}`);
    execFileSync('cp', ['-a', join(temporary, 'old'), join(temporary, 'new')]);
    const { entries } = await manifest(old, there, 'sample');
    expect(entries).toBe(4 + 450 + 150);
    expect(await compare('sample')).toEqual([]);
  });

  it('takes names of any bytes, each for itself', async () => {
    twins();
    for (const name of ['a\nb', "it's", '"', '-rf', ' ', 'a b', 'ä', '\\n', '$(id)', '\t', '*'])
      writeFileSync(join(box(old), name), name);
    writeFileSync(
      Buffer.concat([Buffer.from(`${box(old)}/`), Buffer.from([0xff, 0xe4, 0x0a])]),
      'latin',
    );
    execFileSync('cp', ['-a', '-T', join(temporary, 'old'), join(temporary, 'new')]);
    for (const depth of ['names', 'sample', 'full'] as const)
      expect(await compare(depth)).toEqual([]);
    silentlyEdit(join(box(target), 'a\nb'), 'a\nc');
    await expectDifferent('full', /cur\/a.{2,4}b/);
    expect((await compare('full')).every((line) => !/[\n\t]/.test(line))).toBe(true);
  });

  it('tells links apart whose target and name run together', async () => {
    mkdirSync(vmail(old), { recursive: true });
    mkdirSync(vmail(target), { recursive: true });
    symlinkSync('a b', join(vmail(old), 'c'));
    symlinkSync('a', join(vmail(target), 'b c'));
    utimesSync(vmail(old), 1, 1);
    utimesSync(vmail(target), 1, 1);
    expect(await compare()).toHaveLength(2);
  });

  it('sees a tree that is missing, and one that is a file', async () => {
    twins();
    rmSync(vmail(target), { recursive: true });
    await expectDifferent('names', /only on the target: missing/);
    writeFileSync(vmail(target), 'x');
    await expectDifferent('names', /only on the target: f /);
  });

  it('looks through a tree that is itself a link', async () => {
    twins();
    for (const host of [old, target]) {
      renameSync(vmail(host), join(temporary, host.address, 'data'));
      symlinkSync('data', vmail(host));
    }
    expect(await compare()).toEqual([]);
    rmSync(join(box(target), '1.M1.old:2,S'));
    await expectDifferent('names', /1\.M1/);
  });

  it.each(['find', 'sort', 'sha256sum', 'xargs', 'awk'])(
    'fails without perl when %s fails, and is never silently equal',
    async (program) => {
      twins();
      standIn('perl', 'exit 3');
      standIn(program, `/usr/bin/${program} "$@"\nexit 1`);
      await expect(manifest(broken(), there, 'full')).rejects.toThrow('exit code');
      await expect(differences(broken(), broken(), there, 'full')).rejects.toThrow('exit code');
    },
  );

  it.each(['perl', 'sha256sum', 'xargs'])('fails when %s fails', async (program) => {
    twins();
    standIn(program, `/usr/bin/${program} "$@"\nexit 1`);
    await expect(manifest(broken(), there, 'full')).rejects.toThrow('exit code');
  });

  it('asks both hosts in the same way when one of them has no perl', async () => {
    twins();
    standIn('perl', 'exit 3');
    const [there0 = [], here = []] = await manifests([broken(), target], [there], 'full');
    expect(there0).toEqual(here);
    const [quick = []] = await manifests([target], [there], 'full');
    expect(quick[0]?.entries).toBe(here[0]?.entries);
    expect(quick[0]?.digest).not.toBe(here[0]?.digest);
  });

  it('leaves out what does not count, and nothing else', async () => {
    twins();
    writeFileSync(join(box(old), '../maildirsize'), '1');
    expect(await differences(old, target, there, 'full', ['maildirsize'])).toEqual([]);
    await demandEqual(old, target, [there], 'full', ['maildirsize', 'stats.*']);
    await expect(demandEqual(old, target, [there], 'full', ['maildirsiz'])).rejects.toThrow(
      'differs',
    );
  });

  it.skipIf(process.getuid?.() === 0)('fails when a folder can not be read', async () => {
    twins();
    chmodSync(box(old), 0);
    await expect(manifest(old, there, 'names')).rejects.toThrow('exit code');
  });

  it('leaves nothing behind', async () => {
    twins();
    const folder = join(temporary, 'stand-ins');
    mkdirSync(folder);
    writeFileSync(
      join(folder, 'mktemp'),
      `#!/bin/sh\nmkdir "${temporary}/work" && echo "${temporary}/work"\n`,
      { mode: 0o755 },
    );
    const host = new LocalHost('old');
    host.path = folder;
    await manifest(host, there, 'full');
    // It could not be made if the first one were still there.
    await manifest(host, there, 'full');
  });
});

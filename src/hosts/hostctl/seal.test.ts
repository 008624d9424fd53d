import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  base,
  hostctlPath,
  install,
  setUpHostctl,
  shells,
  temporary,
} from './hostctl-under-test.ts';

/*
 * Real mounts, each test's in a mount namespace of its own: they are gone with the last of its processes.
 */

const canMount =
  spawnSync('unshare', ['-m', '--propagation', 'private', 'mount', '-t', 'tmpfs', 'x', '/mnt'])
    .status === 0;

setUpHostctl();

const store = () => join(temporary, 'a store\\with% odd\tbytes');
const nested = () => join(store(), 'b.org c\\d%e');

/** Runs shell text in a namespace: `$1` hostctl, `$2` the store, `$3` a folder in it, `$4` a folder for notes. */
function inNamespace(text: string): string {
  const before = `set -eu
    fail() { echo "$1" >&2; exit 1; }
    is_writable() { touch -- "$1/try" 2>/dev/null && rm -- "$1/try"; }`;
  const ended = spawnSync(
    'unshare',
    [
      '-m',
      '--propagation',
      'private',
      'sh',
      '-c',
      `${before}\n${text}`,
      'sh',
      hostctlPath(),
      store(),
      nested(),
      temporary,
    ],
    { encoding: 'utf8' },
  );
  expect(ended, text).toMatchObject({ status: 0, stderr: '' });
  return ended.stdout;
}

/** A store with mail, some of it on a file system of its own where that is asked for. */
function setUpStore(): void {
  mkdirSync(nested(), { recursive: true });
  writeFileSync(join(store(), 'message'), 'kept');
}

describe.skipIf(!canMount)('a seal', () => {
  it.each(shells)('keeps a tree from changing until it is taken back, under %s', (shell) => {
    install(shell);
    setUpStore();
    const left = inNamespace(`
      ! "$1" sealed "$2" || fail 'sealed before'
      "$1" seal g seal-0 "$2"
      "$1" sealed "$2" || fail 'not sealed'
      ! is_writable "$2" || fail 'not read-only'
      [ "$(cat "$2/message")" = kept ] || fail 'not seen'
      "$1" seal g seal-0 "$2"
      "$1" undo g
      ! "$1" sealed "$2" || fail 'sealed still'
      is_writable "$2" || fail 'read-only still'
      ! grep hostctl- /proc/self/mountinfo || fail 'mounted still'
      "$1" undo g`);
    expect(left).toBe('');
  });

  it('is not put on a tree in which another file system is mounted, which stays as it is', () => {
    setUpStore();
    const left = inNamespace(`
      mount -t tmpfs x "$3"
      echo mail > "$3/message"
      "$1" seal g seal-0 "$2" seal-1 "$3"
      ! "$1" sealed "$2" || fail 'sealed'
      "$1" sealed "$3" || fail 'a volume by itself is not sealed'
      [ "$(cat "$3/message")" = mail ] || fail 'hidden'
      is_writable "$2" || fail 'read-only'
      ! is_writable "$3" || fail 'not read-only'
      "$1" undo g
      is_writable "$3" || fail 'read-only still'
      [ "$(cat "$3/message")" = mail ] || fail 'the volume is gone'`);
    expect(left).toBe(`${store()}\0`);
  });

  it('of an older version, which hides one, does not count, and is taken off', () => {
    setUpStore();
    const scene = `
      mount -t tmpfs x "$3"
      echo mail > "$3/message"
      "$1" record g seal-0 seal "$2" < /dev/null
      mount --bind "$2" "$2"
      mount -o remount,bind,ro "$2"
      [ ! -e "$3/message" ] || fail 'it is no such seal'
      ! "$1" sealed "$2" || fail 'counts as sealed'`;
    const see = `[ "$(cat "$3/message")" = mail ] || fail 'hidden still'`;
    expect(inNamespace(`${scene}\n"$1" seal g seal-0 "$2"\n${see}`)).toBe(`${store()}\0`);
    expect(inNamespace(`${scene}\n"$1" undo g\n${see}`)).toBe('');
  });

  it('is not what it seems where a file system came into a sealed tree', () => {
    setUpStore();
    inNamespace(`
      "$1" seal g seal-0 "$2"
      mount -t tmpfs x "$3"
      ! "$1" sealed "$2" || fail 'counts as sealed'
      "$1" undo g
      is_writable "$2" || fail 'read-only'`);
  });

  it('of one store in another is a seal of both', () => {
    setUpStore();
    const counts = '"$1" sealed "$2" "$3" || fail \'not sealed\'';
    for (const words of [`seal-0 "$2" seal-1 "$3"\n${counts}`, 'seal-1 "$3" seal-0 "$2"'])
      inNamespace(`
        "$1" seal g ${words}
        ! is_writable "$3" || fail 'not read-only'
        "$1" undo g
        is_writable "$2" || fail 'read-only still'
        is_writable "$3" || fail 'read-only still, within'
        ! grep hostctl- /proc/self/mountinfo || fail 'mounted still'`);
  });

  it('is told from a volume that is read-only for another reason, which no undo takes away', () => {
    setUpStore();
    inNamespace(`
      mount -t tmpfs x "$3"
      echo mail > "$3/message"
      mount -o remount,ro "$3"
      ! "$1" sealed "$3" || fail 'counts as sealed'
      "$1" seal g seal-0 "$3"
      "$1" sealed "$3" || fail 'not sealed'
      cp -a "\${1%/bin/*}/undo" "$4/again"
      "$1" undo g
      cp -a "$4/again" "\${1%/bin/*}/undo"
      "$1" undo g
      [ "$(cat "$3/message")" = mail ] || fail 'the volume is gone'`);
  });

  it('follows a tree that is a link', () => {
    setUpStore();
    inNamespace(`
      ln -s "$2" "$4/link"
      "$1" seal g seal-0 "$4/link"
      "$1" sealed "$4/link" "$2" || fail 'not sealed'
      "$1" undo g
      is_writable "$2" || fail 'read-only still'`);
  });

  it('fails, and is gone, where a file system comes in at that moment', () => {
    setUpStore();
    inNamespace(`
      printf '#!/bin/sh\\n/bin/mount "$@"\\n[ "$1" != --make-private ] || { /bin/mount -t tmpfs x "%s"; echo mail > "%s/message"; }\\n' \
        "$(printf %s "$3" | sed 's/[\\\\]/\\\\\\\\/g')" "$(printf %s "$3" | sed 's/[\\\\]/\\\\\\\\/g')" > "$4/stand-ins/mount"
      chmod 755 "$4/stand-ins/mount"
      ! "$1" seal g seal-0 "$2" 2> "$4/said" || fail 'sealed'
      grep -q 'be made read-only here' "$4/said" || fail "$(cat "$4/said")"
      [ "$(cat "$3/message")" = mail ] || fail hidden
      is_writable "$2" || fail read-only
      "$1" undo g`);
  });

  // Every mount and umount of a seal and its undo: killed before it, and after it.
  it.each([1, 2, 3, 4, 5, 6].flatMap((call) => [`${call} before`, `${call} after`]))(
    'is undone wherever it was cut off, and no mail goes with it: call %s',
    (cut) => {
      setUpStore();
      inNamespace(`
        mount -t tmpfs x "$2"
        echo kept > "$2/message"
        for program in mount umount; do
          cat > "$4/stand-ins/$program" << TEXT
#!/bin/sh
echo x >> $4/calls
at=\\$(wc -l < $4/calls)
[ "\\$at before" != '${cut}' ] || kill -9 \\$PPID
/bin/$program "\\$@" || exit
[ "\\$at after" != '${cut}' ] || kill -9 \\$PPID
TEXT
          chmod 755 "$4/stand-ins/$program"
        done
        ! { "$1" seal g seal-0 "$2" && "$1" undo g; } 2> "$4/killed" || touch "$4/went-through"
        rm "$4/stand-ins/mount" "$4/stand-ins/umount"
        case ${Number.parseInt(cut, 10) % 2} in
          0) "$1" seal g seal-0 "$2"; "$1" sealed "$2" || fail 'not sealed' ;;
        esac
        "$1" undo g
        is_writable "$2" || fail 'read-only still'
        "$1" clean-up other
        [ "$(cat "$2/message")" = kept ] || fail 'mail is gone'
        [ "$(grep -c hostctl- /proc/self/mountinfo)" = 1 ] || fail "$(cat /proc/self/mountinfo)"`);
      expect(existsSync(join(temporary, 'went-through')), 'was cut off').toBe(
        Number.parseInt(cut, 10) > 6,
      );
      expect(existsSync(join(base, 'seal'))).toBe(false);
    },
  );

  it('left at its making place takes no mail with it at the end', () => {
    setUpStore();
    inNamespace(`
      mkdir -p "\${1%/bin/*}/seal"
      mount --bind "$2" "\${1%/bin/*}/seal"
      "$1" clean-up other`);
    expect(readFileSync(join(store(), 'message'), 'utf8')).toBe('kept');
    expect(readdirSync(base)).not.toContain('seal');
  });
});

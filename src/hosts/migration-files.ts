import type { HostFiles, LockAnswer } from '../engine/host-files.ts';
import { script } from './command.ts';
import type { MailHost } from './mail-host.ts';

/** hostctl's exit code for a lock that somebody else holds. */
const held = 90;

/**
 * Group, number and name of an undo record, or * for what is left of its group, what became of it, and the
 * SHA-256 of what it held then.
 */
const undoLine = /^\S+\/(?:[0-9]{4}-\S+|\*) (?:made|gone) (?:[0-9a-f]{64}|-)$/;

/** The engine's files, on a mail host. */
export function migrationFiles(host: MailHost): HostFiles {
  return {
    name: host.role,
    label: host.label,
    async read(name) {
      const result = await host.read(
        script('[ -e "$1" ] || exit 44; cat "$1"', [`${host.folder}/${name}`], {
          allow: [0, 44],
          purpose: `read ${name}`,
        }),
      );
      return result.code === 44 ? undefined : result.stdout;
    },
    async write(name, content) {
      await host.edit('put', [name], { stdin: content, purpose: `write ${name}` });
    },
    async remove(name) {
      await host.edit('remove', [name], { purpose: `remove ${name}` });
    },
    async append(name, content, expectedBytes, heard) {
      const said = await host.edit('append', [name, String(expectedBytes), heard], {
        stdin: content,
        purpose: `append to ${name}`,
      });
      return said.split('\n').filter((line) => undoLine.test(line));
    },
    async takeLock(holder, seconds, minimum, how = {}): Promise<LockAnswer> {
      const result = await host.lockWord(
        'lock',
        [
          ...[holder, String(seconds), String(minimum)],
          ...[how.force ? 'force' : '', how.keepsPasses ? 'passes' : ''],
        ],
        [0, held],
      );
      const said = result.stdout.toString('utf8').trim();
      return result.code === held ? { heldBy: said } : { number: Number(said) };
    },
    async renewLock(number, seconds) {
      await host.lockWord('renew', [String(number), String(seconds)]);
    },
    async releaseLock(number) {
      await host.lockWord('unlock', [String(number)]);
    },
    holdLock: (number) => host.holdLock(number),
  };
}

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Migration } from '../e2e/migration.ts';
import { withoutDns } from '../faults/scene.ts';
import { startMailLab } from '../lab/profile-postfix-dovecot.ts';
import { seed } from './mail-store.ts';

/**
 * Memory of the built `transfer`, with this many messages on OLD: the most that its process ever had
 * (VmHWM of proc(5)), looked at while it runs. Bytes, of a live pass that brings everything and of one
 * that finds nothing new.
 */
export async function memoryOfTransfer(
  mailboxes: string,
  messages: string,
  sizes: string,
): Promise<readonly number[]> {
  const { lab } = await startMailLab({ mailboxes: 6, messagesPerMailbox: 10, ttl: 2 });
  const migration = await Migration.create(lab, withoutDns);
  try {
    await lab.host('old').mustSh(seed, ['/var/vmail/bench', mailboxes, messages, sizes], {
      timeout: 3600,
    });
    await lab.host('old').mustSh('chown -R --reference=/var/vmail /var/vmail/bench');
    await migration.must('prepare');
    return [await ofLivePass(migration), await ofLivePass(migration)];
  } finally {
    await migration.remove();
    await lab.stop();
  }
}

async function ofLivePass(migration: Migration): Promise<number> {
  let group = 0;
  let isOver = false;
  const onStart = (pid: number) => {
    group = pid;
  };
  const pass = migration.must('transfer', { pass: 'live' }, { onStart }).finally(() => {
    isOver = true;
  });
  let most = 0;
  while (!isOver) {
    most = Math.max(most, ...membersOf(group).map(highWaterMark));
    await sleep(50);
  }
  await pass;
  return most;
}

function membersOf(group: number): readonly string[] {
  return readdirSync('/proc').filter((name) => {
    const stat = /^\d+$/.test(name) ? readOr(`/proc/${name}/stat`) : '';
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return group > 0 && Number(fields[2]) === group;
  });
}

function highWaterMark(pid: string): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readOr(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
}

/** A process may end while it is looked at. */
function readOr(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

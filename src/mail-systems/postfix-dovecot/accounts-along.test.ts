import { expect, it } from 'vitest';
import type { Command } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { accountLines, type User } from './accounts.ts';
import { mightierUsers } from './accounts-along.ts';

const user = (name: string, gid: number): User => ({
  name,
  uid: 1001,
  gid,
  gecos: '',
  home: `/home/${name}`,
  shell: '/bin/sh',
});

it('may do more than mail: who is a member of such a group, and whose own group is one', () => {
  const users = [user('anna', 1001), user('bert', 27), user('carl', 1003)];
  const groups = [
    { name: 'sudo', gid: 27, members: ['carl'] },
    { name: 'anna', gid: 1001, members: [] },
  ];
  expect([...mightierUsers({ users, groups })].sort()).toEqual(['bert', 'carl']);
});

it('nobody who is made gets a group of his own whose members may do more', async () => {
  const files: Readonly<Record<string, string>> = {
    '/etc/passwd': '',
    '/etc/group': 'docker:x:998:\nanna:x:1001:\n',
  };
  const host = {
    async read({ argv }: Command) {
      return { stdout: Buffer.from(files[argv[1] ?? ''] ?? '') };
    },
  } as unknown as MailHost;
  const users = [user('anna', 1001), user('bert', 998)];
  const lines = await accountLines(host, { users, groups: [], members: [] });
  expect(lines.split('\n').map((line) => line.split(':').slice(1, 4))).toEqual([
    ['anna', '1001', 'anna'],
    ['bert', '1001', 'nogroup'],
    [],
  ]);
});

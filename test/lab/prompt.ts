import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import { password } from './world.ts';

/** Writes an ssh configuration by which `ssh -F FILE old` and `new` work, keys pinned. Its path. */
export function writeSshConfiguration(lab: Lab): string {
  const knownHosts = join(lab.folder, 'known_hosts');
  const file = join(lab.folder, 'ssh_config');
  const mailHosts = lab.hosts.filter(({ name }) => name === 'old' || name === 'new');
  const keys = mailHosts.map(({ name, address, address6, root }) => {
    const key = readFileSync(join(root, 'etc/ssh/ssh_host_ed25519_key.pub'), 'utf8');
    return `${name},${address},${address6} ${key}`;
  });
  writeFileSync(knownHosts, keys.join(''));
  const entries = mailHosts.map(
    ({ name, address }) =>
      `Host ${name} ${address}\n  HostName ${address}\n  HostKeyAlias ${name}\n`,
  );
  const common = `Host *\n  User root\n  IdentityFile ${lab.sshKey.path}\n  IdentitiesOnly yes\n  UserKnownHostsFile ${knownHosts}\n`;
  writeFileSync(file, entries.join('') + common);
  return file;
}

function help(lab: Lab, ssh: string): string {
  const hosts = lab.hosts.map(
    ({ name, address, root }) => `  ${name.padEnd(8)} ${address}  ${root}`,
  );
  return `The lab is up; it ends with this shell.
${hosts.join('\n')}
  ssh -F ${ssh} old      (in $LAB_SSH; as root, or admin@old)
  mailbox password: ${password}
  certificate authority: ${lab.ca.path}
`;
}

/** Leaves the lab up with a shell inside it, until that ends. Its exit code. */
export async function prompt(lab: Lab): Promise<number> {
  const ssh = writeSshConfiguration(lab);
  const isTerminal = process.stdin.isTTY === true;
  process.stderr.write(help(lab, ssh));
  const shell = spawn('bash', isTerminal ? ['-i'] : [], {
    stdio: 'inherit',
    env: { ...process.env, LAB_SSH: ssh },
  });
  // The terminal's interrupt is for the shell, not for the lab.
  const ignore = () => {};
  process.on('SIGINT', ignore);
  const [code] = await once(shell, 'exit');
  process.off('SIGINT', ignore);
  return code ?? 1;
}

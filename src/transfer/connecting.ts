import { script } from '../hosts/command.ts';
import type { Host } from '../hosts/host.ts';
import { helloRequest } from './ends.ts';

/** Where the host that connects finds the other one's sshd, and what it knows of it. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** There is no connection by this way; another may do. */
export class NotJoined extends Error {
  override readonly name = 'NotJoined';
}

/** Words that start ssh(1) with the key of a pass. */
export function ssh(folder: string, port: number, hasFastAes: boolean): string {
  return [
    'ssh',
    '-i',
    `${folder}/key`,
    '-p',
    String(port),
    '-o',
    `UserKnownHostsFile=${folder}/known_hosts`,
    '-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o BatchMode=yes -o ForwardAgent=no',
    '-o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ConnectTimeout=15',
    `-c ${(hasFastAes ? [...aesCiphers, chacha] : [chacha, ...aesCiphers]).join(',')}`,
    '-l root',
  ].join(' ');
}

/** AES costs a fraction of the other where processors have instructions for it, and several times as much where not. */
const aesCiphers = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'aes128-ctr'];
const chacha = 'chacha20-poly1305@openssh.com';

/** ssh(1), sharing one connection with those that follow closely. */
export function shared(remoteShell: string, folder: string): string {
  return `${remoteShell} -o ControlMaster=auto -o ControlPath=${folder}/shared -o ControlPersist=15`;
}

/** Lays the other host's keys beside the key. */
export async function pin(host: Host, folder: string, hostKeyLines: string): Promise<void> {
  await host.change(
    script(`umask 077; cat > "$1/known_hosts"`, [folder], {
      stdin: hostKeyLines,
      purpose: 'pin the host key for this pass',
    }),
  );
}

/** Longer than ssh(1) waits for a connection; one that then says nothing counts as none. */
const helloSeconds = 20;

/**
 * Lays the other host's keys beside the key, and logs in with it: that a port answers does not say that the
 * key is let in. Standard error is a file: a shared connection that stays would keep it open.
 */
export async function greet(
  host: Host,
  folder: string,
  { shell, address }: { readonly shell: string; readonly address: string },
  hostKeyLines: string,
): Promise<void> {
  const result = await host.change(
    script(
      `umask 077
       cat > "$1/known_hosts"
       if ! timeout "$3" ${shell} "$2" '${helloRequest}' < /dev/null > /dev/null 2> "$1/fault"
       then cat "$1/fault" >&2; exit 5; fi`,
      [folder, address, String(helloSeconds)],
      {
        stdin: hostKeyLines,
        allow: [0, 5],
        timeout: 60,
        purpose: 'log in with the key of this pass',
      },
    ),
  );
  if (result.code !== 0) throw new NotJoined(lastLine(result.stderr));
}

/** What a program said last of why it failed. */
export function lastLine(stderr: string): string {
  return stderr.trimEnd().split('\n').at(-1)?.trim() || 'without a word';
}

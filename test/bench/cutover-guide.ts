import { nsupdate } from '../../src/dns/nsupdate.ts';
import type { Lab } from '../lab/lab.ts';
import { carry } from '../lab/profile-postfix-dovecot.ts';
import { mailName, network, tsig, ttl } from '../lab/world.ts';
import type { Part } from './downtime.ts';

/*
 * The move as the guide of chatmail relays ("Migrating to a new host") has it done by hand, with its own
 * commands, on the same hosts: mail copied by tar once beforehand; then service ends on OLD, small trees
 * by tar, mail by rsync, owners by name, DNS, and service begins on NEW. What cmdeploy would do
 * around it is left out, and no human is waited for.
 */

const stores = ['/var/vmail', '/home'];
const small = [...carry, '/var/spool/postfix'];
const mail = 'postfix.service postfix@-.service dovecot.service';
const services = 'postfix.service dovecot.service opendkim.service';

/** A key on OLD, NEW installed and off, and the first copy: all that may take its time. */
export async function getReady(lab: Lab): Promise<void> {
  const [old, target] = [lab.host('old'), lab.host('new')];
  const key = await old.mustSh(
    `ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/guide && cat /root/.ssh/guide.pub
     printf 'Host new\\nHostName %s\\nIdentityFile /root/.ssh/guide\\nStrictHostKeyChecking accept-new\\n' "$1" > /root/.ssh/config`,
    [target.address],
  );
  await target.mustSh(
    `printf '%s\\n' "$1" >> /root/.ssh/authorized_keys; systemctl disable --now ${services} postfix@-.service 2>/dev/null`,
    [key.trim()],
  );
  await old.mustSh(`tar c -C / ${relative(stores)} | ssh new tar x -C / 2>/dev/null`, [], {
    timeout: 3600,
  });
}

/** Tells when each command began and ended. */
export async function cutOver(lab: Lab): Promise<readonly Part[]> {
  const [old, target] = [lab.host('old'), lab.host('new')];
  const parts: Part[] = [];
  const timed = async (name: string, work: () => Promise<unknown>) => {
    const from = Date.now();
    await work();
    parts.push({ name, from, to: Date.now() });
  };
  const onOld = (text: string) => old.mustSh(text, [], { timeout: 3600 });
  const onTarget = (text: string) => target.mustSh(text, [], { timeout: 3600 });
  await timed('systemctl stop on OLD', () => onOld(`systemctl stop ${mail}`));
  await timed('tar of the small trees', () =>
    onOld(`tar c -C / ${relative(small)} 2>/dev/null | ssh new tar x -C /`),
  );
  await timed('rsync -azH of the mail', () =>
    onOld(stores.map((store) => `rsync -azH ${store}/ new:${store}/`).join(' && ')),
  );
  await timed('chown -R on NEW', () =>
    onTarget(
      'chown -R vmail: /var/vmail; chown -R anna: /home/anna; chown -R bert: /home/bert; chown -R opendkim: /etc/dkimkeys; chown -R root: /etc/ssl/mail',
    ),
  );
  await timed('DNS', changeDns);
  await timed('systemctl start on NEW', () =>
    onTarget(`systemctl enable -q --now ${services} 2>/dev/null`),
  );
  return parts;
}

function relative(paths: readonly string[]): string {
  return paths.map((path) => path.slice(1)).join(' ');
}

async function changeDns(): Promise<void> {
  const to = { A: network.new.v4, AAAA: network.new.v6 };
  const lines = Object.entries(to).flatMap(([type, address]) => [
    `update delete ${mailName}. ${type}`,
    `update add ${mailName}. ${ttl.lowered} ${type} ${address}`,
  ]);
  const { code } = await nsupdate(tsig, [`server ${network.dns.v4}`, ...lines], 10);
  if (code !== 'NOERROR') throw new Error(`the zone was not changed: ${code}`);
}

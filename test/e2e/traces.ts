import type { Lab, LabHost } from '../lab/lab.ts';
import { zoneText } from './zone.ts';

/**
 * What a run could have left behind: every file, folder and link of both mail hosts by owner, mode,
 * size, mtime, link and content, the units that run, and the zones as their primary serves them.
 * Left out is what a host changes by itself while nobody touches it: logs (the log-ins are there),
 * /run, /tmp, systemd's own stamps, Postfix's and sudo's own state.
 */
export async function traces(lab: Lab): Promise<readonly string[]> {
  const [old, target, zone] = await Promise.all([
    ofHost(lab.host('old')),
    ofHost(lab.host('new')),
    zoneText(),
  ]);
  return [...old, ...target, ...zone];
}

/** Lines of `now` that `before` does not have, and the other way round: none where nothing was touched. */
export function differences(before: readonly string[], now: readonly string[]): string[] {
  const [was, is] = [new Set(before), new Set(now)];
  return [
    ...before.filter((line) => !is.has(line)).map((line) => `was: ${line}`),
    ...now.filter((line) => !was.has(line)).map((line) => `is: ${line}`),
  ];
}

const leftOut = [
  '/var/log',
  '/var/cache',
  '/var/tmp',
  '/var/lib/systemd',
  '/var/lib/sudo',
  '/var/lib/postfix',
  '/var/lib/dovecot/instances',
  '/var/spool/postfix/pid',
  '/var/spool/postfix/public',
  '/var/spool/postfix/private',
];

const listing = String.raw`
out=$(mktemp -d /run/traces.XXXXXX)
trap 'rm -rf "$out"' EXIT
: > "$out/prune"
for path; do printf '%s\n' "$path" >> "$out/prune"; done
LC_ALL=C find /etc /home /root /opt /srv /var /usr/local /usr/sbin/sendmail \
  -type d \( $(sed 's/.*/-path & -o/' "$out/prune") -false \) -prune -o \
  \( -type f -printf 'f %m %u:%g %s %n %T@ %p\0' -o -type s -printf 's %m %u:%g %p\0' \
     -o -printf '%y %m %u:%g %T@ %l %p\0' \) | tr '\n\0' '?\n' > "$out/list"
LC_ALL=C find /etc /home /root /opt /srv /var/vmail /var/spool /var/lib/mail-cutover /var/lib/dovecot-index \
  -type f -print0 2>/dev/null | xargs -0 -r sha256sum -z -- 2>/dev/null | tr '\n\0' '?\n' >> "$out/list"
systemctl list-units --state=active --type=service,timer,socket --no-legend --plain |
  awk '$1 !~ /^(session|user)/ { print "unit", $1, $3 }' >> "$out/list"
crontab -l 2>/dev/null >> "$out/list" || :
LC_ALL=C sort "$out/list"`;

async function ofHost(host: LabHost): Promise<string[]> {
  const text = await host.mustSh(listing, leftOut);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `${host.name}: ${line}`);
}

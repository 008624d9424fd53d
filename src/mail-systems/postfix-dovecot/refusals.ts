import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { printable } from '../../hosts/printable.ts';
import { blocks, type Finding } from '../mail-system.ts';

/**
 * What kinds of server this suite can't move, each by name; nothing else is looked at where there is
 * one. One line each: `KIND<TAB>WHAT WAS SEEN`. A BSD is told first: the rest needs GNU tools.
 */
const recognizeScript = String.raw`
say() { printf '%s\t%s\n' "$1" "$2"; }
system=$(uname -s)
if [ "$system" != Linux ] || ! find --version 2>/dev/null | grep -q GNU; then
  say gnu "$system"
  exit 0
fi
for tool in rsync perl flock openssl ss ip systemctl; do
  command -v "$tool" >/dev/null || say tool "$tool"
done
if [ -e /.dockerenv ]; then say inside /.dockerenv; fi
if [ -e /run/.containerenv ]; then say inside /run/.containerenv; fi
for engine in docker podman; do
  command -v "$engine" >/dev/null || continue
  list=$(timeout 30 "$engine" ps --format '{{.Image}} {{.Names}} {{.Ports}}' 2>/dev/null || :)
  first() { printf '%s\n' "$list" | grep -E -i -m 1 -- "$1" || :; }
  for kind in mailcow docker-mailserver mailu containers; do
    case $kind in
      docker-mailserver) seen=$(first 'docker-mailserver|mailserver/') ;;
      containers) seen=$(first 'postfix|dovecot|exim|poste\.io|iredmail|modoboa|stalwart|:(25|143|465|587|993)->') ;;
      *) seen=$(first "$kind") ;;
    esac
    if [ -n "$seen" ]; then say "$kind" "$engine: $seen"; break; fi
  done
done
for exim in exim4 exim; do
  if program=$(command -v "$exim"); then say exim "$program"; break; fi
done
if sendmail=$(command -v sendmail); then
  case $(readlink -f "$sendmail") in
    *sendmail.sendmail|*/sm.bin/*|*/sendmail-bin/*) say sendmail "$sendmail" ;;
  esac
fi
for path in /usr/lib/cyrus /usr/lib/cyrus-imapd /etc/imapd.conf; do
  if [ -e "$path" ]; then say cyrus "$path"; break; fi
done
for path in /etc/courier /usr/lib/courier; do
  if [ -e "$path" ]; then say courier "$path"; break; fi
done
if command -v postconf >/dev/null && [ "$(postconf -h multi_instance_enable 2>/dev/null)" = yes ]; then
  others=$(postconf -h multi_instance_directories 2>/dev/null)
  if [ -n "$others" ]; then say instances "$others"; fi
fi
if command -v doveconf >/dev/null; then
  settings=$(doveconf -n 2>/dev/null | grep -v '^#' || :)
  case $settings in *mail_replica*|*replication*) say dsync 'doveconf: mail_replica or replication' ;; esac
  case $settings in *mail_crypt*) say mail_crypt 'doveconf: mail_crypt' ;; esac
fi`;

const other =
  'move it with its own tools: this suite moves Postfix and Dovecot that are installed on the host itself';

/** Name and cure of each kind. */
const kinds: Readonly<Record<string, readonly [name: string, cure: string]>> = {
  mailcow: ['mailcow', other],
  'docker-mailserver': ['docker-mailserver', other],
  mailu: ['Mailu', other],
  containers: ['mail in containers', other],
  exim: ['Exim', 'remove it if Postfix has taken its place; else move it with its own tools'],
  sendmail: [
    'Sendmail',
    'remove it if Postfix has taken its place; else move it with its own tools',
  ],
  cyrus: [
    'Cyrus IMAP',
    'remove it if Dovecot has taken its place; else move it with its own tools',
  ],
  courier: ['Courier', 'remove it if Dovecot has taken its place; else move it with its own tools'],
  dsync: [
    'dsync replication',
    'end the replication first: mail that comes in from the other replica would change a frozen store',
  ],
  instances: [
    'several instances of Postfix',
    'this suite holds and moves the queue of the first one only, and mail in the others would stay behind: bring them together in one, or move it by hand',
  ],
  mail_crypt: ['mail_crypt', 'decrypt the mail first: without its keys NEW could not read it'],
};

/** What can't be moved, or moved to. Reads only; works also where there are no GNU tools. */
export async function refusals(host: MailHost): Promise<readonly Finding[]> {
  const result = await host.read(
    script(recognizeScript, [], { timeout: 120, purpose: 'find out what kind of server this is' }),
  );
  return result.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [kind = '', ...seen] = line.split('\t');
      return refusal(host, kind, printable(seen.join(' ').trim()));
    });
}

function refusal(host: MailHost, kind: string, seen: string): Finding {
  switch (kind) {
    case 'gnu':
      return blocks(
        `${host.label}: it is a ${seen === 'Linux' ? 'Linux' : seen} without GNU tools, which this suite can't work on`,
        'use a Linux host with GNU coreutils and findutils',
      );
    case 'tool':
      return blocks(`${host.label}: the program ${seen} is missing`, `install ${seen} there`);
    case 'inside':
      return blocks(
        `${host.label}: SSH ends inside a container (${seen}), which this suite can't move`,
        'name the address of the host itself',
      );
  }
  const [name, cure] = kinds[kind] ?? [kind, other];
  const verb = host.role === 'old' ? "can't move" : "can't move mail to";
  return blocks(`${host.label}: it runs ${name} (${seen}), which this suite ${verb}`, cure);
}

import type { Step } from '../../engine/step.ts';
import { script } from '../../hosts/command.ts';
import type { Edit, MailHost } from '../../hosts/mail-host.ts';
import { freezeGroup as group, type MailContext } from '../mail-system.ts';
import type { Dovecot } from './dovecot.ts';
import { latePort, names } from './names.ts';
import { entriesOf, type Postfix, words } from './postfix.ts';
import { effective, option, ownOptions, publicServices, splitQuota } from './public-service.ts';
import { waitUntilNothing } from './waiting.ts';

/*
 * A host that has given service away knows its own users as they were. From then on its port 25 asks
 * the other host about each recipient (ADDRESS_VERIFICATION_README of Postfix), maps no address, and
 * sends what it takes to the other host's second door, marked by a content filter.
 */

const askingPrefix = 'asking-';

/** cleanup(8) for the questions: they must be about the address as it was given. */
const cleanup = 'mail-cutover-cleanup';

/** transport(5) of the second door of the other host. */
export function lateDestination(context: MailContext): string {
  const { target, migration } = context;
  return `${names(migration).late}:[${target.address}]:${latePort(migration)}`;
}

/** Settings of main.cf: whom to ask, and for how long an answer counts. */
export async function askingSettings(
  context: MailContext,
  postfix: Postfix,
): Promise<Readonly<Record<string, string>>> {
  const destination = lateDestination(context);
  const aliasDomains = await virtualAliasDomains(context.source, postfix);
  return {
    // In memory: what an administrator's own table says is about this host, and older.
    address_verify_map: '',
    address_verify_transport_maps: `static:${destination}`,
    address_verify_positive_refresh_time: '1m',
    address_verify_positive_expire_time: '2m',
    // What could not be asked counts as a negative answer: it is asked again soon.
    address_verify_negative_refresh_time: '10s',
    address_verify_negative_expire_time: '1m',
    // smtpd(8) refuses what is in such a domain and not in its own table, whatever else it is told.
    ...(aliasDomains.length === 0
      ? {}
      : {
          virtual_alias_domains: '',
          virtual_mailbox_domains: [
            ...words(postfix.parameters.get('virtual_mailbox_domains')),
            ...aliasDomains,
          ].join(' '),
        }),
  };
}

/**
 * What makes the services of port 25 ask, in one edit with the `others` (name of the record, key, entry).
 * Made again after it was cut off it starts from what was there.
 */
export function asking(
  context: MailContext,
  { postfix, dovecot }: { postfix: Postfix; dovecot: Dovecot | undefined },
  filtering: 'source' | 'target',
  others: readonly string[],
): Edit {
  const edits = [...others];
  const edit = (id: string, key: string, entry: string) =>
    edits.push(`${askingPrefix}${id}`, key, entry);
  const noMaps = ['virtual_alias_maps', 'canonical_maps', 'recipient_canonical_maps']
    .map((map) => option(map, ''))
    .join(' ');
  edit('cleanup', `${cleanup}/unix`, `${cleanup} unix n - y - 0 cleanup ${noMaps}`);
  const [verify = ''] = (
    postfix.services.get('verify/unix') ?? 'verify unix - - y - 1 verify'
  ).split(verifyMark);
  edit('verify', 'verify/unix', `${verify}${verifyMark}`);
  for (const service of publicServices(postfix)) {
    const was = (parameter: string) => effective(service, postfix, parameter);
    const override = new Set([...words(was('receive_override_options')), 'no_address_mappings']);
    const lists = ['smtpd_data_restrictions', 'smtpd_end_of_data_restrictions'];
    const own = [
      ...(filtering === 'target' ? ['-o smtpd_proxy_filter='] : []),
      option('receive_override_options', [...override].join(',')),
      '-o local_recipient_maps=',
      '-o virtual_mailbox_maps=',
      '-o relay_recipient_maps=',
      option(
        'smtpd_recipient_restrictions',
        [
          'reject_unverified_recipient',
          splitQuota(was('smtpd_recipient_restrictions'), dovecot).others,
        ]
          .filter(Boolean)
          .join(', '),
      ),
      ...lists.map((list) => option(list, splitQuota(was(list), dovecot).others)),
      '-o unverified_recipient_reject_code=550',
      '-o unverified_recipient_defer_code=450',
      '-o unverified_recipient_tempfail_action=defer',
      '-o address_verify_poll_count=15',
      '-o address_verify_poll_delay=1s',
    ];
    edit(
      service.key.replace('/', '-'),
      service.key,
      `${service.entry}${portMark(context)} ${own.join(' ')}`,
    );
  }
  return { words: ['master', group, ...edits] };
}

/** Whether every service of port 25 asks. */
export function asks(context: MailContext, postfix: Postfix): boolean {
  return publicServices(postfix).every(({ ours }) => ours.startsWith(portMark(context)));
}

const verifyMark = ` -o cleanup_service_name=${cleanup}`;

function portMark({ target, migration }: MailContext): string {
  return `${ownOptions}[${target.address}]:${latePort(migration)}`;
}

/**
 * `host` takes service back: its port 25 judges by its own tables again. What it accepted for the
 * other one waits unmapped and bound for the other's door: that is run through cleanup(8) now, for
 * the first time (postsuper(1) -r), and only that. Its transport must deliver nothing by now.
 */
export async function stopAsking(host: MailHost): Promise<void> {
  await host.edit('undo-prefix', [group, askingPrefix], { purpose: 'ask the other host no more' });
}

/** See `stopAsking`; after Postfix has loaded what that changed. */
export async function takeBackLate(host: MailHost, { migration }: MailContext): Promise<string> {
  const { late, transport } = names(migration);
  await host.change(
    script(endMarking, [late, String(farewellSeconds)], {
      timeout: farewellSeconds + 60,
      purpose: 'end SMTP sessions that mark mail for the other host',
    }),
  );
  await waitUntilNothing(host, sendingNow, {
    args: [late, transport],
    seconds: 120,
    what: 'nothing is being sent to the other host',
    cure: 'Look at the mail log, then run this stage again',
  });
  return takeBack(host, late);
}

async function takeBack(host: MailHost, late: string): Promise<string> {
  const result = await host.change(
    script(requeue, [late], { timeout: 3600, purpose: 'take back what waits for the other host' }),
  );
  return result.stdout.toString('utf8').trim();
}

/**
 * Once more, when the host serves: cleanup(8) may have had a whole marked message when its smtpd(8) was ended, and
 * a milter may take minutes to judge it. Nobody is kept waiting for that now.
 */
export function lastLateStep({ old, migration }: MailContext): Step {
  return {
    id: 'take-back-late',
    title: 'Take back what OLD was still accepting for NEW',
    done: async () => false,
    do: async () => {
      const { late } = names(migration);
      await waitUntilNothing(old, unfinished, {
        args: [late],
        seconds: judgingSeconds,
        what: 'no message is being accepted for the other host',
        cure: 'A milter hangs: look at it, then run this stage again',
      });
      return takeBack(old, late);
    },
  };
}

/** A milter's longest time for a message by default (postconf(5), milter_content_timeout), and some more. */
const judgingSeconds = 330;

/**
 * Prints the queue files whose filter is `$1` and which cleanup(8) has not finished: those are not executable.
 * Not by postcat(1): at a file without its sizes it goes round for ever. A message in flight whose text has
 * that name in it is waited for, too.
 */
const unfinished = String.raw`
find "$(postconf -h queue_directory)/incoming" -ignore_readdir_race -type f ! -perm -u+x |
while read -r file; do
  if grep -aqF -- "$1:" "$file" 2>/dev/null; then printf '%s\n' "$file"; fi
done`;

/** How long a client may go on with a session that began before. */
const farewellSeconds = 10;

/**
 * An smtpd(8) that is in a session when master(8) reloads keeps its options until the session ends, and marks
 * what it accepts with the filter `$1`: after the requeue nobody would take that mark off. Waits for such
 * sessions `$2` seconds, then ends them. The client, which has no reply, sends again.
 */
const endMarking = String.raw`
marking() {
  find /proc/[0-9]*/exe -maxdepth 0 -lname '*/postfix/sbin/smtpd' -printf '%h\n' 2>/dev/null |
  while read -r process; do
    words=$(tr '\0' ' ' < "$process/cmdline" 2>/dev/null) || continue
    case $words in *" content_filter=$1:"*) printf '%s\n' "$process" | cut -d/ -f3 ;; esac
  done
}
wait_for_end() { # SECONDS FILTER
  end=$(($(date +%s) + $1))
  while [ -n "$(marking "$2")" ]; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.1
  done
}
end_with() { # SIGNAL FILTER
  for process in $(marking "$2"); do kill "-$1" "$process" 2>/dev/null || :; done
}
if ! wait_for_end "$2" "$1"; then
  end_with TERM "$1"
  if ! wait_for_end 5 "$1"; then end_with KILL "$1"; fi
  if ! wait_for_end 5 "$1"; then
    echo "smtpd does not end (process $(marking "$1" | tr '\n' ' ')): end it, then run this stage again" >&2
    exit 1
  fi
fi`;

/** Prints the smtp(8) processes of the transports `$@`. */
const sendingNow = String.raw`
find /proc/[0-9]*/exe -maxdepth 0 -lname '*/postfix/sbin/smtp' -printf '%h\n' 2>/dev/null |
while read -r process; do
  words=$(tr '\0' ' ' < "$process/cmdline" 2>/dev/null) || continue
  for name; do
    case " $words" in *" -n $name "*) printf '%s\n' "$process" ;; esac
  done
done`;

/** Queue files whose filter is `$1`, once each; postcat(1) tells. */
const requeue = String.raw`
list=$(mktemp /run/mail-cutover.XXXXXX)
trap 'rm -f -- "$list" "$list.ids"' EXIT
postqueue -j > "$list"
sed -n 's/.*"queue_id": "\([0-9A-Za-z]*\)".*/\1/p' "$list" > "$list.ids"
count=0
while read -r id; do
  if postcat -e -q "$id" 2>/dev/null | grep -q "^content_filter: $1:"; then
    postsuper -r "$id" 2>/dev/null
    count=$((count + 1))
  fi
done < "$list.ids"
printf '%s messages run through cleanup' "$count"`;

/**
 * Domains whose addresses are all aliases. Only tables that can be listed are looked into; of others
 * (SQL, LDAP) the host goes on judging itself.
 */
async function virtualAliasDomains(host: MailHost, postfix: Postfix): Promise<readonly string[]> {
  const domains = new Set<string>();
  for (const word of words(postfix.parameters.get('virtual_alias_domains'))) {
    const entries = await entriesOf(host, word);
    if (entries.length === 0 && word.includes(':')) return [];
    for (const [key] of entries)
      if (!key.includes('@') && key.includes('.')) domains.add(key.toLowerCase());
  }
  return [...domains];
}

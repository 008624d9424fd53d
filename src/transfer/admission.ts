import { type Command, script } from '../hosts/command.ts';

/** Minutes after which a key that nobody renews lets nobody in any more. */
const leaseMinutes = 30;

/** A line of root's authorized_keys: who may come from where, and the one thing that he may start. */
export interface Admission {
  readonly migration: string;
  /** As sshd's `from=` takes them (sshd(8), AUTHORIZED_KEYS FILE FORMAT). */
  readonly addresses: string;
  readonly publicKey: string;
  /** The forced command. */
  readonly command: string;
}

/** The line of one pass, with a full lease from now. */
export function admit(admission: Admission, purpose: string): Command {
  return script(`${admitting}\nadmit "$@"`, admissionWords(admission), { purpose });
}

/**
 * On either host: a full lease from now for the key of a pass, where this host admits it; and what the target
 * starts from now on, it starts under the lock of who renews it.
 */
export function renewal(folder: string, migration: string): Command {
  return script(
    String.raw`${dismissing}
     ${expiring}
     # By a rename: a forced command that read it empty would start without a lock.
     if [ -e "$1/lock" ] && printenv HOSTCTL_LOCK > "$1/lock.new"; then mv -f -- "$1/lock.new" "$1/lock"; fi
     if grep -qs " mail-cutover $2 pass\$" "$file"; then
       expiry=$(expiry_in "$3")
       umask 077
       cp -a -- "$file" "$file.mail-cutover.$$"
       sed "/ mail-cutover $2 pass\$/s/expiry-time=.[0-9]*Z./expiry-time=\"$expiry\"/" "$file" > "$file.mail-cutover.$$"
       mv -f -- "$file.mail-cutover.$$" "$file"
     fi`,
    [folder, migration, String(leaseMinutes)],
    { purpose: 'renew the key of this pass' },
  );
}

/** Arguments of `admit`. */
export function admissionWords(admission: Admission): readonly string[] {
  const { migration, addresses, publicKey, command } = admission;
  return [migration, addresses, publicKey, command, String(leaseMinutes)];
}

/** Removes the line of a migration, if there is one. */
export const dismissing = String.raw`
file=/root/.ssh/authorized_keys
# What it leads to, where it is a link: written through one, it would be empty while it is read.
if [ -L "$file" ]; then file=$(readlink -f -- "$file"); fi
without_ours() { # MIGRATION
  umask 077
  mkdir -p /root/.ssh
  [ -e "$file" ] || : > "$file"
  cp -a -- "$file" "$file.mail-cutover.$$"
  awk -v tag=" mail-cutover $1 pass" 'substr($0, length($0) - length(tag) + 1) != tag' "$file" > "$file.mail-cutover.$$"
}
dismiss() { # MIGRATION
  grep -qs " mail-cutover $1 pass\$" "$file" || return 0
  without_ours "$1"
  mv -f -- "$file.mail-cutover.$$" "$file"
}`;

/** Ends whoever keeps connections to the other host waiting; what goes over one already goes on. */
export const ceasing = String.raw`
cease() { # FOLDER
  answering=$(cat "$1/answer.pid" 2>/dev/null || :)
  if [ -n "$answering" ] && grep -qs meet.pl "/proc/$answering/cmdline"; then kill -TERM "$answering" 2>/dev/null || :; fi
}`;

const expiring = 'expiry_in() { date -u -d "+$1 minutes" +%Y%m%d%H%M%SZ; } # MINUTES';

/** Shell text that defines `admit`. */
export const admitting = String.raw`${dismissing}
${expiring}
admit() { # MIGRATION ADDRESSES KEY COMMAND MINUTES
  expiry=$(expiry_in "$5")
  without_ours "$1"
  printf 'restrict,from="%s",expiry-time="%s",command="%s" %s\n' "$2" "$expiry" "$4" "$3" >> "$file.mail-cutover.$$"
  mv -f -- "$file.mail-cutover.$$" "$file"
}`;

/** Addresses for `from=`: those that ip(8) lists, and the one by which the host is known here. */
export function addressesIn(listed: readonly string[], known: string): string {
  return [...new Set([...listedAddresses(listed), known])].join(',');
}

/** `ip -o addr show`: the addresses alone. */
export function listedAddresses(listed: readonly string[]): readonly string[] {
  return listed
    .map((line) => /inet6? ([0-9a-f.:]+)/.exec(line)?.[1])
    .filter((address) => address !== undefined);
}

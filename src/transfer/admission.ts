import { type Command, script } from '../hosts/command.ts';

/** Minutes after which a key that nobody renews lets nobody in any more. */
const leaseMinutes = 30;

/** The door's exit code when the lease is over (sysexits(3), EX_NOPERM). */
export const leaseIsOver = 77;

/** A line of root's authorized_keys: who may come from where, and the one thing that he may start. */
export interface Admission {
  readonly migration: string;
  /** Of the pass, on this host. It is there. */
  readonly folder: string;
  /** As sshd's `from=` takes them (sshd(8), AUTHORIZED_KEYS FILE FORMAT). */
  readonly addresses: string;
  readonly publicKey: string;
  /** What the forced command starts while the lease lasts; words of ours, without quotes. */
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
    `${dismissing}
     ${leasing}
     # By a rename: a forced command that read it empty would start without a lock.
     if [ -e "$1/lock" ] && printenv HOSTCTL_LOCK > "$1/lock.new"; then mv -f -- "$1/lock.new" "$1/lock"; fi
     if grep -qs " mail-cutover $2 pass\\$" "$file"; then
       lease "$1" "$3"
       utc=$(expiry_utc "$3")
       local=$(expiry_local)
       umask 077
       cp -a -- "$file" "$file.mail-cutover.$$"
       sed "/ mail-cutover $2 pass\\$/{
         s/expiry-time=\\"[0-9]*Z\\"/expiry-time=\\"$utc\\"/
         s/expiry-time=\\"[0-9]*\\"/expiry-time=\\"$local\\"/
       }" "$file" > "$file.mail-cutover.$$"
       mv -f -- "$file.mail-cutover.$$" "$file"
     fi`,
    [folder, migration, String(leaseMinutes)],
    { purpose: 'renew the key of this pass' },
  );
}

/** Arguments of `admit`. */
export function admissionWords(admission: Admission): readonly string[] {
  const { migration, folder, addresses, publicKey, command } = admission;
  return [migration, folder, addresses, publicKey, command, String(leaseMinutes)];
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

/**
 * Shell text. The lease is a file, in seconds since the host was started, which no clock that is set
 * changes. sshd's `expiry-time` is a second bolt, by the clock. Without a Z it takes local time, and knows
 * nothing of summer time: some hours more, then.
 */
const leasing = `
lease() { # FOLDER MINUTES
  read -r up idle < /proc/uptime
  echo "$((\${up%%.*} + $2 * 60))" > "$1/lease.new"
  mv -f -- "$1/lease.new" "$1/lease"
}
expiry_utc() { date -u -d "+$1 minutes" +%Y%m%d%H%M%SZ; } # MINUTES
expiry_local() { env -u TZ date -d '+1 day' +%Y%m%d%H%M%S; }`;

/**
 * The forced command of every pass, whichever host it is on. Not a lease of sshd's, which only the newer ones
 * know. Whatever is wrong with the file, nobody is let in.
 */
const door = `# sh door FOLDER PROGRAM...: PROGRAM, while the lease of the key lasts. What runs goes on after it.
folder=$1
shift
end=
{ read -r end < "$folder/lease"; } 2>/dev/null
read -r up idle < /proc/uptime
if [ "\${up%%.*}" -lt "$end" ] 2>/dev/null; then exec "$@"; fi
echo 'mail-cutover: the lease of the key of this pass is over' >&2
exit ${leaseIsOver}`;

/**
 * Shell text. A line with a word that sshd does not know lets nobody in: `restrict` is known since 7.2,
 * `expiry-time` since 7.7, its Z since 9.1. sshd of every version begins its usage with its name; one that says
 * nothing of the kind is taken for the oldest.
 */
const describing = `
sshd_version() { # as MAJOR * 100 + MINOR
  sshd=$(command -v sshd || echo /usr/sbin/sshd)
  said=$("$sshd" '-?' 2>&1 < /dev/null) || :
  major=0 minor=0
  case $said in
    *OpenSSH_[0-9]*.[0-9]*)
      said=\${said#*OpenSSH_}
      major=\${said%%.*}
      said=\${said#*.}
      minor=\${said%%[!0-9]*} ;;
  esac
  case $major in *[!0-9]*) major=0 minor=0 ;; esac
  echo "$((major * 100 + minor))"
}
restrictions() { # VERSION
  if [ "$1" -ge 702 ]; then echo restrict
  else echo no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-pty,no-user-rc; fi
}
expiry() { # VERSION MINUTES
  if [ "$1" -ge 901 ]; then end=$(expiry_utc "$2")
  elif [ "$1" -ge 707 ]; then end=$(expiry_local)
  else return 0; fi
  echo ",expiry-time=\\"$end\\""
}`;

/** Shell text that defines `admit`. */
export const admitting = `${dismissing}
${leasing}
${describing}
admit() { # MIGRATION FOLDER ADDRESSES KEY COMMAND MINUTES
  cat > "$2/door" <<'END'
${door}
END
  lease "$2" "$6"
  version=$(sshd_version)
  words=$(restrictions "$version")
  bolt=$(expiry "$version" "$6")
  without_ours "$1"
  printf '%s,from="%s"%s,command="exec sh %s/door %s %s" %s\\n' "$words" "$3" "$bolt" "$2" "$2" "$5" "$4" >> "$file.mail-cutover.$$"
  mv -f -- "$file.mail-cutover.$$" "$file"
}`;

/** Addresses for `from=`: those that ip(8) lists, and those by which the host is known here. */
export function addressesIn(listed: readonly string[], known: readonly string[]): string {
  return [...new Set([...listedAddresses(listed), ...known])].join(',');
}

/** `ip -o addr show`: the addresses alone. */
export function listedAddresses(listed: readonly string[]): readonly string[] {
  return listed
    .map((line) => /inet6? ([0-9a-f.:]+)/.exec(line)?.[1])
    .filter((address) => address !== undefined);
}

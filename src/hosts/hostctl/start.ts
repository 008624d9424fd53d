/** What comes before all else: options of the shell, and writing durably. Shell text, a part of `hostctl`. */
export const start = String.raw`#!/bin/sh
# mail-cutover: every change to this host goes through this program.
#   hostctl status             what state the migration is in here
#   hostctl thaw               take service up again, unless it was handed to the other host
# The other words are for the actions.
set -eu
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C
case $0 in */*) base=\${0%/*}/.. ;; *) base=.. ;; esac
base=$(CDPATH='' cd -- "$base" && pwd -P)
name=\${base##*/}
marker="mail-cutover $name"

die() { printf '%s\n' "$1" >&2; exit "\${2:-1}"; }

# durable PATH...: on disk, not only in memory
durable() { sync -- "$@" 2>/dev/null || sync; }

# put PATH < content: whole or not at all, and on disk
put() {
  cat > "$1.new.$$" || { rm -f -- "$1.new.$$"; exit 1; }
  durable "$1.new.$$"
  mv -f -- "$1.new.$$" "$1"
  durable "\${1%/*}"
}

now() { date -u +%s; }
stamp() { date -u +%Y-%m-%dT%H:%M:%SZ; }
`;

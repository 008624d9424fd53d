import { ceasing } from './admission.ts';
import { keepingFolder } from './pass-folder.ts';

/*
 * Shell text by which source and target are made ready for a pass, and what one asks of the other.
 */

/** What the source asks the target for, so that the one forced command knows which end to start. */
export const mirrorRequest = 'mail-cutover mirror';
/** The same for a connection that waits, and takes the lock when it begins. */
export const heldRequest = 'mail-cutover held';
/**
 * The same for tar(1), with the number of a store after it, and the program that has made less of the stream;
 * the mirror program makes it of the other.
 */
const tarRequest = 'mail-cutover tar';
/** Nothing: a log-in that shows that the key is let in. */
export const helloRequest = 'mail-cutover hello';

/**
 * Shell text. From standard input, each with its length in bytes before it: the items, the program that
 * makes trees equal, and that by which the source calls. Says what this host can run, and whether its
 * processor has instructions for AES.
 */
const takePrograms = String.raw`
take_programs() { # FOLDER ITEMS MIRROR
  head -c "$2" > "$1/items"
  head -c "$3" > "$1/mirror.pl"
  cat > "$1/meet.pl"
  if perl "$1/mirror.pl" probe 2>/dev/null; then echo mirror
  elif perl -e 1 2>/dev/null; then echo perl
  else echo no; fi
  if grep -qwm1 aes /proc/cpuinfo; then echo aes; else echo no; fi
}`;

/** Makes a key in the folder, and prints it with the host's addresses. */
export const makingKey = String.raw`
make_key() { # FOLDER MIGRATION
  rm -f -- "$1/key" "$1/key.pub"
  ssh-keygen -q -t ed25519 -N '' -C "mail-cutover $2 pass" -f "$1/key"
  cat "$1/key.pub"
  ip -o addr show scope global
}`;

/**
 * On the source: folder, migration, bytes of the items and of the mirror program.
 */
export const prepareSource = String.raw`${ceasing}
${keepingFolder}
${takePrograms}
${makingKey}
umask 077
cease "$1"
# Of a pass in the other direction.
rm -f -- "/var/lib/mail-cutover/$2"/rsync-*.token
make_folder "$1"
take_programs "$1" "$3" "$4"
make_key "$1" "$2"`;

/**
 * On the target: folder, migration, bytes of rsyncd.conf, of the items and of the mirror program. What is
 * left there is the key's forced command: it knows four words, and else starts rsync's server in daemon
 * mode. It is told what the other side asked for in the environment (sshd(8), SSH_ORIGINAL_COMMAND).
 *
 * Under the lock's number, where there is one: who takes the lock over ends this end of a pass too. What
 * is held open until then takes it when it begins.
 */
export const prepareTarget = String.raw`${ceasing}
${keepingFolder}
${takePrograms}
umask 077
cease "$1"
rm -f -- "/var/lib/mail-cutover/$2"/rsync-*.note
make_folder "$1"
head -c "$3" > "$1/rsyncd.conf"
take_programs "$1" "$4" "$5"
printenv HOSTCTL_LOCK > "$1/lock" || :
cat > "$1/forced-command" <<END
state=/var/lib/mail-cutover/$2
run=
if [ -s $1/lock ]; then run="\$state/bin/hostctl run \$(cat $1/lock)"; fi
case "\$SSH_ORIGINAL_COMMAND" in
  '${helloRequest}') exit 0 ;;
  '${mirrorRequest}') exec \$run perl $1/mirror.pl receive "\$state" $1/items ;;
  '${heldRequest}') exec perl $1/mirror.pl receive "\$state" $1/items held ;;
  '${tarRequest} '*) set -f; exec \$run perl $1/mirror.pl untar "\$state" $1/items \${SSH_ORIGINAL_COMMAND#'${tarRequest} '} ;;
esac
exec \$run rsync --config=$1/rsyncd.conf --server --daemon .
END`;

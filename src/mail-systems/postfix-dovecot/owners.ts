import { script } from '../../hosts/command.ts';
import type { MailContext } from '../mail-system.ts';

/** Those of the owners that the target does not have, in words. */
export async function missingOwners(
  context: MailContext,
  wanted: readonly string[],
): Promise<readonly string[]> {
  const result = await context.target.read(
    script(
      `for owner; do
         case $owner in
           u:*) id -u "\${owner#u:}" ;;
           g:*) getent group "\${owner#g:}" ;;
         esac > /dev/null 2>&1 || printf '%s\\n' "$owner"
       done`,
      wanted,
      { purpose: 'look for the owners' },
    ),
  );
  return result.stdout
    .toString('utf8')
    .trim()
    .split('\n')
    .filter((owner) => owner !== '')
    .map((owner) =>
      owner.startsWith('u:') ? `user ${owner.slice(2)}` : `group ${owner.slice(2)}`,
    );
}

/** Users (`u:`) and groups (`g:`) that own anything in the trees on the source, or only the trees themselves. A number without a name is an owner too. */
export async function ownersOf(
  context: MailContext,
  trees: readonly string[],
  depth: 'all' | 'top' = 'all',
): Promise<readonly string[]> {
  const result = await context.source.read(
    script(
      `out=$(mktemp /run/mail-cutover.XXXXXX)
       trap 'rm -f -- "$out"' EXIT
       case $1 in top) limit='-maxdepth 0' ;; *) limit= ;; esac
       shift
       for tree; do
         if [ -e "$tree" ]; then find "$tree" $limit -ignore_readdir_race -printf 'u:%u\\ng:%g\\n' >> "$out"; fi
       done
       sort -u "$out"`,
      [depth, ...trees],
      { timeout: 3600, purpose: 'list the owners of mail' },
    ),
  );
  return result.stdout
    .toString('utf8')
    .trim()
    .split('\n')
    .filter((owner) => owner !== '');
}

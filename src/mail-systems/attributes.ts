import { script } from '../hosts/command.ts';
import type { MailHost } from '../hosts/mail-host.ts';
import { printable } from '../hosts/printable.ts';
import { type Finding, warns } from './mail-system.ts';

/**
 * Looks at a sample of what lies in the trees, from the top down, for a second or two, by llistxattr(2): hosts
 * with tools for it are few. Prints, each before a NUL: how many it looked at, how many have an ACL, one of
 * these, how many have attributes of a user (xattr(7)), one of these. Nothing where it can't.
 */
const sample = String.raw`use strict;
use warnings;
use Config;
my %numbers = (x86_64 => 195, aarch64 => 12, riscv64 => 12);
my ($machine) = $Config{archname} =~ /^([^-]+)/;
my $llistxattr = $numbers{$machine} or exit 0;
my $buffer = "\0" x 4096;
my ($seen, $end, @queue) = (0, time + 1, map { -d $_ ? "$_/." : $_ } @ARGV);
my %kinds = (acl => qr/(?:^|\0)system\.posix_acl_/, user => qr/(?:^|\0)user\./);
my %count = (acl => 0, user => 0);
my %one = (acl => '', user => '');
while (@queue && $seen < 5000 && time <= $end) {
    my $path = shift @queue;
    $seen++;
    my $length = syscall($llistxattr, $path, $buffer, 4096);
    for my $kind ($length > 0 ? keys %kinds : ()) {
        next unless substr($buffer, 0, $length) =~ $kinds{$kind};
        $one{$kind} = $path =~ s{/\.(?=/|$)}{}r if !$count{$kind}++;
    }
    next unless lstat($path) && -d _ && opendir my $handle, $path;
    my @names = sort grep { $_ ne '.' && $_ ne '..' } readdir $handle;
    my $step = int(@names / 100) + 1;
    for (my $index = 0; $index < @names; $index += $step) { push @queue, "$path/$names[$index]" }
}
print map { "$_\0" } $seen, map { ($count{$_}, $one{$_}) } qw(acl user);
`;

/**
 * What no pass copies. Dropping an ACL may give more than it took: with a mask the group's bits of the mode are
 * the mask (acl(5)), so the group then gets what only a named user had.
 */
export async function attributesInStores(
  source: MailHost,
  stores: readonly string[],
): Promise<Finding[]> {
  if (stores.length === 0) return [];
  const result = await source.read(
    script('if command -v perl > /dev/null; then perl - "$@"; fi', stores, {
      stdin: sample,
      purpose: 'look for ACLs and attributes in the stores',
    }),
  );
  const [seen = '', acls = '0', acl = '', users = '0', user = ''] = result.stdout
    .toString('latin1')
    .split('\0');
  const name = (path: string) => printable(Buffer.from(path, 'latin1'));
  return [
    ...(acls === '0'
      ? []
      : [
          warns(
            `${source.label}: ${acls} of ${seen} folders and files looked at in the stores have an ACL (${name(acl)}), and ACLs are not copied: on NEW the mode alone counts, and where there was a mask the group may do what the mask allows`,
            'give the same rights on OLD by owner, group and mode, then remove the ACLs (setfacl -R -b); or set them again on NEW before activate',
          ),
        ]),
    ...(users === '0'
      ? []
      : [
          warns(
            `${source.label}: ${users} of ${seen} folders and files looked at in the stores have extended attributes (${name(user)}), which are not copied`,
            'if a program needs them, set them again on NEW before activate (getfattr --dump, setfattr --restore)',
          ),
        ]),
  ];
}

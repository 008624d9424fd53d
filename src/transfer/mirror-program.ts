import { head } from './mirror/head.ts';
import { hold } from './mirror/hold.ts';
import { changes } from './mirror/source/changes.ts';
import { first } from './mirror/source/first.ts';
import { listing } from './mirror/source/listing.ts';
import { note } from './mirror/source/note.ts';
import { pass } from './mirror/source/pass.ts';
import { sending } from './mirror/source/sending.ts';
import { streams } from './mirror/source/streams.ts';
import { comparing } from './mirror/target/comparing.ts';
import { ending } from './mirror/target/ending.ts';
import { receiving } from './mirror/target/receiving.ts';
import { unpacking } from './mirror/target/unpacking.ts';
import { writing } from './mirror/target/writing.ts';
import { wire } from './mirror/wire.ts';

const source = [pass, first, streams, note, changes, listing, sending];
const target = [receiving, unpacking, comparing, writing, ending];

const main = String.raw`# --------------------------------------------------------------------------------------------------
unless ($statx_number && $Config{ivsize} == 8 && look('/')) {
    print STDERR "this machine ($machine) is not known to the program\n";
    exit 3;
}
my ($word, @rest) = @ARGV;
my %words = (
    probe => sub { },
    send => \&send_all,
    receive => \&receive_all,
    detach => \&detach,
    untar => \&untar,
    hold => \&hold_all,
    go => \&go,
    release => sub { speak($_[0], 'release') },
);
unless (eval { $words{$word}->(@rest); 1 }) {
    my $fault = $@;
    tell_source($fault) if $word eq 'receive';
    print STDERR $fault;
    exit 5;
}
`;

/**
 * The program that makes trees of the target what the source's are, in Perl as perl-base has it; the
 * same text runs at both ends of one connection. How it works and why it is right is told in its own
 * comments, because a person at the console of a host meets it there.
 *
 *     perl mirror.pl send PART/PARTS FOLDER ITEMS COMMAND...   on the source
 *     perl mirror.pl receive FOLDER ITEMS                      on the target, as COMMAND's other end
 *     perl mirror.pl untar FOLDER ITEMS NUMBER [PROGRAM]       on the target, as tar's other end
 *     perl mirror.pl detach, hold, go, release                 on the source; see mirror/hold.ts
 *
 * FOLDER keeps the note (source) and the token (target). ITEMS: a file of NUL-terminated pairs, kind
 * (`store`, `tree`, `maybe`, `file`) and path, as many and in the same order on both hosts.
 */
export const mirrorProgram = [head, wire, ...source, ...target, hold, main].join('');

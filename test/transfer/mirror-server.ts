import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { mirrorProgram } from '../../src/transfer/mirror-program.ts';

/**
 * The mirror program, read and compiled once; each run of it is a fork. Starting Perl anew takes four
 * times as long as the passes of a small store. What is other than on a host: the receiving end is a
 * fork, too, instead of what a forced command starts.
 */
export class MirrorServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'mirror-server-'));
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;

  constructor() {
    const path = join(this.#folder, 'server.pl');
    writeFileSync(path, serverText());
    this.#child = spawn('perl', [path], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (!this.#child.stdout) throw new Error('perl has no output');
    createInterface(this.#child.stdout).on('line', (line) => this.#hear(line));
  }

  /** Runs the program with these arguments. `started` hears the number of its process group. */
  async run(
    args: readonly string[],
    { young = 2, isSlow = false, lock = '', started = (_: number) => {} }: RunOptions = {},
  ): Promise<Ended> {
    this.#last += 1;
    const id = this.#last;
    const out = join(this.#folder, String(id));
    // It may be killed before it opens them itself.
    for (const end of ['out', 'err']) writeFileSync(`${out}.${end}`, '');
    const ended = new Promise<number>((resolve) => {
      this.#waiting.set(id, { started, resolve });
    });
    const words = [String(id), out, String(young), isSlow ? '1' : '', lock, ...args];
    const hex = words.map((word) => `x${Buffer.from(word).toString('hex')}`);
    this.#child.stdin?.write(`${hex.join(' ')}\n`);
    const code = await ended;
    const [stdout, stderr] = ['out', 'err'].map((end) => readFileSync(`${out}.${end}`, 'utf8'));
    return { code, stdout: stdout ?? '', stderr: stderr ?? '' };
  }

  #hear(line: string): void {
    const [word, id, number] = line.split(' ');
    const waiting = this.#waiting.get(Number(id));
    if (word === 'started') waiting?.started(Number(number));
    else {
      this.#waiting.delete(Number(id));
      waiting?.resolve(Number(number));
    }
  }

  stop(): void {
    this.#child.stdin?.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface RunOptions {
  readonly young?: number | undefined;
  /** Every way is slow, so that all manners of carrying are tried; and every store so large that several look. */
  readonly isSlow?: boolean;
  readonly lock?: string;
  readonly started?: (group: number) => void;
}

interface Waiting {
  readonly started: (group: number) => void;
  readonly resolve: (code: number) => void;
}

/** The program's parts as they are, its last one as a function, and around it what forks. */
function serverText(): string {
  const at = mirrorProgram.lastIndexOf('unless ($statx_number');
  if (at < 0) throw new Error('the program has another last part');
  return `${mirrorProgram.slice(0, at)}
sub run_main { ${mirrorProgram.slice(at)} }
${forking}`;
}

const forking = String.raw`
no warnings 'redefine';

sub received_here {
    my ($ends, $words, @close) = @_;
    my $child = fork // die "can't fork: $!\n";
    return $child if $child;
    open STDIN, '<&', $ends->{in} if $ends->{in};
    open STDOUT, '>&', $ends->{out} if $ends->{out};
    close $_ for @close;
    undef $lock;
    ($received, $at, $waiting, $lap) = ('', 0, '', undef);
    %count = ();
    my ($state, $items_file, $word) = $words->@[3 .. 5];
    @ARGV = $word =~ / tar (.*)/ ? ('untar', $state, $items_file, split ' ', $1)
        : ('receive', $state, $items_file, $word =~ /held$/ ? 'held' : ());
    run_main();
    exit 0;
}

sub connect_to {
    pipe(my $from, my $to_us) && pipe(my $from_us, my $to) or die "no pipe: $!\n";
    my $child = received_here({ in => $from_us, out => $to_us }, [@_], $from, $to);
    close $_ for $from_us, $to_us;
    ($in, $out) = ($from, $to);
    binmode $_ for $in, $out;
    widen($out);
    $out->blocking(0);
    return $child;
}

my $start_other = \&start_program;
*start_program = sub {
    my ($ends, @words) = @_;
    return $start_other->(@_) if $words[0] ne 'sh';
    open(my $nothing, '>', '/dev/null');
    return received_here({ $ends->%*, out => $nothing }, \@words);
};

$| = 1;
$SIG{CHLD} = 'IGNORE';
while (my $line = <STDIN>) {
    chomp $line;
    my ($id, $path, $age, $is_slow, $number, @args) = map { pack 'H*', substr $_, 1 } split / /, $line;
    my $handler = fork // die "can't fork: $!\n";
    next if $handler;
    $SIG{CHLD} = 'DEFAULT';
    my $worker = fork // die "can't fork: $!\n";
    if ($worker == 0) {
        setpgrp;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$path.out";
        open STDERR, '>', "$path.err";
        ($young, $ENV{HOSTCTL_LOCK}, @ARGV) = ($age, $number, @args);
        ($fast_enough, $settling, $trial, $given_ahead, $clearly, $whole_below) = (1e15, 0, 1, 1, 0, 1) if $is_slow;
        run_main();
        exit 0;
    }
    setpgrp $worker, $worker;
    syswrite STDOUT, "started $id $worker\n";
    waitpid $worker, 0;
    syswrite STDOUT, "ended $id " . ($? & 127 ? 128 : $? >> 8) . "\n";
    POSIX::_exit(0);
}
`;

import type { LabHost } from '../lab/lab.ts';
import { waitFor } from '../lab/process.ts';

/** What a control file was seen to hold: every text, and `undefined` for a moment without the file. */
export type Seen = ReadonlySet<string | undefined>;

/** Reads each file thousands of times a second, while it may be replaced, until it is told to end. */
const program = String.raw`
chdir '/var/qmail/control' or die;
my ($run, @files) = @ARGV;
my %seen;
for (;;) {
  for my $file (@files) {
    my $text;
    if (open(my $in, '<', $file)) { local $/; $text = '=' . (<$in> // '') }
    elsif ($!{ENOENT}) { $text = '-' }
    else { die "$file: $!" }
    $seen{$file}{$text} = 1;
  }
  last if -e "$run.end";
  if (!-e $run) { open(my $begun, '>', $run) or die }
  select undef, undef, undef, 0.0002;
}
for my $file (@files) { print "$file\0$_\0" for keys %{ $seen{$file} } }
unlink $run, "$run.end";`;

let count = 0;

/** Looks at control files of a host until `end`. */
export class ControlWatch {
  readonly #host: LabHost;
  readonly #run: string;
  readonly #ended: Promise<string>;

  private constructor(host: LabHost, files: readonly string[]) {
    count += 1;
    this.#host = host;
    this.#run = `/run/control-watch-${count}`;
    this.#ended = host.mustSh(`perl -e "$1" "$2" ${files.join(' ')}`, [program, this.#run], {
      timeout: 3600,
    });
  }

  static async start(host: LabHost, files: readonly string[]): Promise<ControlWatch> {
    const watch = new ControlWatch(host, files);
    watch.#ended.catch(() => undefined);
    await waitFor('the watch begins', 30, async () => {
      const { code } = await host.sh('[ -e "$1" ]', [watch.#run]);
      return code === 0;
    });
    return watch;
  }

  async end(): Promise<ReadonlyMap<string, Seen>> {
    await this.#host.mustSh(': > "$1.end"', [this.#run]);
    const words = (await this.#ended).split('\0');
    const seen = new Map<string, Set<string | undefined>>();
    for (let at = 0; at + 1 < words.length; at += 2) {
      const [file = '', text = ''] = words.slice(at, at + 2);
      const texts = seen.get(file) ?? new Set();
      seen.set(file, texts.add(text === '-' ? undefined : text.slice(1)));
    }
    return seen;
  }
}

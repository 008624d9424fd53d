/** The counts that the program puts out, `name=number`, as a sentence. */
export function described(
  output: string,
  { live, log }: { readonly live: boolean; readonly log: (line: string) => void },
): string {
  const counts = new Map(
    [...output.matchAll(/(\w+)=(\d+)/g)].map(([, name = '', value]) => [name, Number(value)]),
  );
  const count = (name: string) => (counts.get(name) ?? 0).toLocaleString('en');
  const megabytes = ((counts.get('bytes') ?? 0) / 1e6).toFixed(1);
  const unstable = counts.get('unstable') ?? 0;
  if (unstable > 0 && !live)
    log(`${unstable} files changed while they were read, although the source is frozen`);
  const times = [...counts]
    .filter(([name, value]) => name.startsWith('ms_') && value > 0)
    .map(([name, value]) => `${name.slice(3)} ${(value / 1000).toFixed(2)} s`);
  log(`the pass itself: ${times.join(', ')}`);
  const squeezer = ['zstd', 'gzip'].find((name) => counts.has(`by_${name}`));
  const streams = counts.get('streams') ?? 1;
  const tar = streams > 1 ? `tar in ${streams} streams` : 'tar';
  const by = squeezer ? `${tar}, in part through ${squeezer}` : tar;
  const refused = counts.get('refused_streams') ?? 0;
  const slower =
    refused === 0
      ? ''
      : `; slower than it could be: ${refused} further ${refused === 1 ? 'connection was' : 'connections were'} refused or lost (a firewall may count them; the lease of a key ends half an hour after a job has last looked)`;
  const first = counts.get('tar') ? `the most by ${by}; then ` : '';
  return `${first}${count('sent')} messages and files (${megabytes} MB) sent, ${count('renamed')} renamed, ${count('removed')} removed; ${count('listed')} folders differed${slower}`;
}

/** The summary is read when the pass has ended: what it was like is told by its last line of progress. */
export function withProgress(evidence: string, told: string | undefined): string {
  return told === undefined ? evidence : `${evidence}; when last looked at: ${told}`;
}

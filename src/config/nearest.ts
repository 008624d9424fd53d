/** Letters to insert, delete, replace or swap with a neighbour to get from `a` to `b`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(
        (last[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (last[j - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/** Case, "_" and "-" are what people mix up most, so they don't count. */
function plain(word: string): string {
  return word.toLowerCase().replaceAll(/[-_ ]/g, '');
}

/**
 * The word of `known` that was probably meant by `word`: at most a third of its letters differ, or
 * one begins with the other. `undefined` when none is near enough to be a help.
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const wanted = plain(word.slice(0, 60));
  if (wanted.length === 0) return undefined;
  const scored = known
    .map((candidate) => ({ candidate, score: distance(wanted, plain(candidate)) }))
    .filter(({ candidate, score }) => score <= Math.max(1, Math.floor(candidate.length / 3)))
    .sort((a, b) => a.score - b.score);
  return scored[0]?.candidate;
}

function distance(wanted: string, candidate: string): number {
  const shared = Math.min(wanted.length, candidate.length);
  const prefix = shared >= 3 && (wanted.startsWith(candidate) || candidate.startsWith(wanted));
  return prefix ? 1 : editDistance(wanted, candidate);
}

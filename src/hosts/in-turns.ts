/**
 * What `work` makes of each item, in their order, so many at a time. sshd(8) allows ten sessions on a
 * connection (MaxSessions in sshd_config(5)), and the lock must be renewed on one of them meanwhile.
 */
export async function inTurns<T, R>(
  items: readonly T[],
  most: number,
  work: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = [];
  const left = items.entries();
  const worker = async () => {
    for (const [index, item] of left) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: most }, worker));
  return results;
}

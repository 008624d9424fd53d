/** How far a pass is; what is not known yet is undefined. */
export interface Progress {
  /** `copying`: by tar, the first time; `comparing`: folder by folder, sending what is lacking. */
  readonly doing: string;
  readonly files: number;
  readonly bytes: number;
  readonly allFiles?: number | undefined;
  readonly allBytes?: number | undefined;
  /** Since the pass began. */
  readonly seconds: number;
}

/**
 * `41 % · 123,000 of 300,000 messages · 2.1 GB · 84 MB/s · 2 min left`. Files that are no messages, a few
 * in each mailbox, are counted with them. Nobody counts while tar works: then it is what the share of the
 * bytes lets expect.
 */
export function progressLine(progress: Progress): string {
  const { doing, files, bytes, allFiles, allBytes, seconds } = progress;
  const share = allBytes ? Math.min(1, bytes / allBytes) : undefined;
  const rate = seconds > 0 ? bytes / seconds : 0;
  const parts = [
    ...(share === undefined ? [] : [`${Math.floor(share * 100)} %`]),
    ...messages(files, allFiles, share),
    size(bytes),
    `${(rate / 1e6).toFixed(0)} MB/s`,
    ...(share !== undefined && allBytes !== undefined && rate > 0 && doing === 'copying'
      ? [left((allBytes - Math.min(bytes, allBytes)) / rate)]
      : []),
  ];
  const line = parts.join(' · ');
  return doing === 'copying' ? line : `${doing}: ${line}`;
}

function messages(counted: number, all: number | undefined, share: number | undefined) {
  const count = (value: number) => value.toLocaleString('en');
  if (!all) return counted > 0 ? [`${count(counted)} messages`] : [];
  if (counted > 0) return [`${count(Math.min(counted, all))} of ${count(all)} messages`];
  return share ? [`about ${count(Math.round(share * all))} of ${count(all)} messages`] : [];
}

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(0)} MB`;
}

function left(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s left` : `${Math.round(seconds / 60)} min left`;
}

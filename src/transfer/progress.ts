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

/** `41 % · 123,000 of 300,000 messages · 2.1 GB · 84 MB/s · 2 min left` */
export function progressLine(progress: Progress): string {
  const { doing, files, bytes, allFiles, allBytes, seconds } = progress;
  const share = allBytes ? Math.min(1, bytes / allBytes) : undefined;
  const rate = seconds > 0 ? bytes / seconds : 0;
  const parts = [
    ...(share === undefined ? [] : [`${Math.floor(share * 100)} %`]),
    ...(files > 0 ? [messages(files, allFiles)] : []),
    allBytes && files === 0 ? `${size(bytes)} of ${size(allBytes)}` : size(bytes),
    `${(rate / 1e6).toFixed(0)} MB/s`,
    ...(share !== undefined && allBytes !== undefined && rate > 0 && doing === 'copying'
      ? [left((allBytes - Math.min(bytes, allBytes)) / rate)]
      : []),
  ];
  return `${doing}: ${parts.join(' · ')}`;
}

function messages(files: number, all: number | undefined): string {
  const count = (value: number) => value.toLocaleString('en');
  return all ? `${count(Math.min(files, all))} of ${count(all)} files` : `${count(files)} files`;
}

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(0)} MB`;
}

function left(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s left` : `${Math.round(seconds / 60)} min left`;
}

import * as core from '@actions/core';
import type { Log } from '../engine/runner.ts';

/** Where stages and steps say what they do: the log of the job. */
export const log: Log = {
  info: core.info,
  warning: (line) => core.warning(line),
  group: (title, work) => core.group(title, work),
};

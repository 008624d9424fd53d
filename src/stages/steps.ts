import type { Step } from '../engine/step.ts';

/** A step that has no state of its own: it is run each time. */
export function always(id: string, title: string, work: () => Promise<string | undefined>): Step {
  return { id, title, done: async () => false, do: work };
}

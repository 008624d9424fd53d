/** Every stage that is an action, in the default order; `rollback` stands apart. */
export const stageNames = [
  'plan',
  'prepare',
  'transfer',
  'freeze',
  'activate',
  'dns-cutover',
  'verify',
  'drain',
  'finish',
  'rollback',
] as const;

export type StageName = (typeof stageNames)[number];

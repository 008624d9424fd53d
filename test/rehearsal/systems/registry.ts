import type { RehearsedSystem } from './system.ts';

/** One module a mail system, loaded when it is asked for. */
const loaders = {
  'postfix-dovecot': () => import('./postfix-dovecot.ts'),
} as const satisfies Record<string, () => Promise<{ readonly system: RehearsedSystem }>>;

export type SystemName = keyof typeof loaders;

export const systemNames = Object.keys(loaders) as readonly SystemName[];

export async function rehearsedSystem(name: SystemName): Promise<RehearsedSystem> {
  return (await loaders[name]()).system;
}

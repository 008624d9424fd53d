import { defineConfig } from 'vitest/config';

/** Folders under test/ whose tests need the lab: real hosts in namespaces, so Linux and root. */
const labFolders = [
  'lab',
  'dns',
  'transfer',
  'qmail',
  'e2e',
  'rehearsal',
  'faults',
  'chatmail',
  'safety',
];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'scripts/**/*.test.ts'],
          exclude: ['**/*.lab.test.ts'],
          // Programs are run in some of them, and two cores may be busy with more than these.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'built',
          include: ['test/built/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'lab',
          include: ['{src,test}/**/*.lab.test.ts', `test/{${labFolders.join(',')}}/**/*.test.ts`],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});

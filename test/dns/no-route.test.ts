import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('passes over an address without a route only where its name server was judged by another', async () => {
  const script = fileURLToPath(new URL('./no-route.ts', import.meta.url));
  const inside = 'ip link set lo up && exec "$@"';
  const args = ['--net', 'sh', '-c', inside, 'sh', process.execPath, script];
  const { stdout } = await promisify(execFile)('unshare', args);
  expect(JSON.parse(stdout)).toEqual([
    'six.z.example (2001:db8::6): no answer, no route from this machine',
  ]);
});

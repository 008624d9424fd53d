import { describe, expect, it } from 'vitest';
import { type Look, Quiet } from './drain.ts';

const nothing = { messages: 0, oldestSeconds: 0, late: 0, connections: 0 };

/** What is said of looks at these seconds, of which quiet must last for 10. */
function verdicts(...looks: readonly (Partial<Look> & { readonly second: number })[]): string[] {
  const quiet = new Quiet(10, 0);
  return looks.map(({ second, ...look }) =>
    quiet.judge({ ...nothing, at: second * 1000, ...look }),
  );
}

describe('OLD is quiet', () => {
  it('once nothing has waited there for so long', () => {
    expect(verdicts({ second: 0 }, { second: 9 }, { second: 10 })).toEqual([
      'not yet',
      'not yet',
      'quiet',
    ]);
  });

  it.each([
    ['a message in the queue', { messages: 1 }],
    ['a late message in a Maildir', { late: 1 }],
  ])('%s makes it begin anew', (_, look) => {
    expect(verdicts({ second: 9, ...look }, { second: 18 }, { second: 19 })).toEqual([
      'not yet',
      'not yet',
      'quiet',
    ]);
  });

  it('not while somebody is connected, and at once after', () => {
    expect(verdicts({ second: 11, connections: 1 }, { second: 12 })).toEqual(['not yet', 'quiet']);
  });

  it('although strangers are connected at every look, if none of them brings mail', () => {
    const connected = [11, 1209, 1210].map((second) => ({ second, connections: 3 }));
    expect(verdicts(...connected)).toEqual(['not yet', 'not yet', 'quiet']);
    const brought = [
      { second: 1209, messages: 1 },
      { second: 1210, connections: 3 },
    ];
    expect(verdicts(...brought)).toEqual(['not yet', 'not yet']);
  });

  it('never, where a message can not leave: that is said after 15 minutes', () => {
    const old = { messages: 1, oldestSeconds: 5000 };
    expect(
      verdicts({ second: 900, ...old }, { second: 901, messages: 1 }, { second: 902, ...old }),
    ).toEqual(['not yet', 'not yet', 'stuck']);
  });
});

import { describe, expect, it } from 'vitest';
import {
  inputEnvironment,
  parseActionFile,
  parseFileCommands,
  StepLog,
} from './runner-protocol.ts';

const action = parseActionFile(
  `inputs:
  config: { description: a, default: .github/x.yml }
  ssh-key: { description: b }
  two words: { default: 3 }
  token: { default: "\${{ github.token }}" }
outputs: { state: { description: c } }
runs: { using: node24, main: ../../dist/a.cjs, post: ../../dist/b.cjs }
`,
  { 'github.token': 'ghs_1' },
);

describe('action.yml', () => {
  it('gives inputs their defaults', () => {
    expect(inputEnvironment(action, { 'ssh-key': 'k' })).toEqual({
      INPUT_CONFIG: '.github/x.yml',
      'INPUT_SSH-KEY': 'k',
      INPUT_TWO_WORDS: '3',
      INPUT_TOKEN: 'ghs_1',
    });
  });

  it('an input it does not have is refused', () => {
    expect(() => inputEnvironment(action, { confg: 'a' })).toThrow(
      'unknown input "confg"; known: config',
    );
  });
});

describe('file commands', () => {
  it('are read as the runner reads them', () => {
    const text = 'a=1=2\nlong<<EOF_x\nfirst\n\na=3\nEOF_x\nempty=\nnone<<X\nX\n';
    expect(parseFileCommands(text)).toEqual({
      a: '1=2',
      long: 'first\n\na=3',
      empty: '',
      none: '',
    });
  });

  it('a value without an end is a fault', () => {
    expect(() => parseFileCommands('a<<X\nb\n')).toThrow('has no end');
  });
});

describe('the log', () => {
  const read = (log: StepLog, ...lines: string[]) => lines.flatMap((line) => log.read(line));

  it('turns commands into words', () => {
    expect(
      read(
        new StepLog(),
        'plain :: text',
        '::group::Copy',
        '::endgroup::',
        '::error file=a.yml,line=3::two%0Alines at 100%25',
        '::debug::hidden',
        '::save-state name=a::1',
      ),
    ).toEqual(['plain :: text', '== Copy', 'error: two', 'error: lines at 100%']);
    expect(read(new StepLog({ debug: true }), '::debug::seen')).toEqual(['debug: seen']);
  });

  it('hides secrets from where they are named, the longest first', () => {
    const log = new StepLog();
    const lines = ['::add-mask::pass', '::add-mask::password', '::add-mask::k1%0Ak2'];
    expect(read(log, ...lines)).toEqual([]);
    expect(read(log, 'a password, a pass', 'k2', '::error::k1')).toEqual([
      'a ***, a ***',
      '***',
      'error: ***',
    ]);
  });

  it('obeys stop-commands', () => {
    const lines = ['::stop-commands::w0rd', '::error::as it is', '::w0rd::', '::error::again'];
    expect(read(new StepLog(), ...lines)).toEqual(['::error::as it is', 'error: again']);
  });
});

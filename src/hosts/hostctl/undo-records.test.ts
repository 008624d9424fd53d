import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  base,
  hostctl,
  install,
  me,
  setUpHostctl,
  shells,
  standIn,
  temporary,
  tree,
  well,
} from './hostctl-under-test.ts';

setUpHostctl();

it('records of two edits are told apart when one name ends like the other', () => {
  well(['file', 'g', 'stop-unit', join(temporary, 'etc/some.conf'), '644', me], 'x');
  well(['file', 'g', 'unit', join(temporary, 'etc/other'), '644', me], 'y');
  expect(readdirSync(join(base, 'undo/g'))).toEqual(['0000-stop-unit', '0001-unit']);
  well(['undo', 'g']);
  expect(tree(join(temporary, 'etc'))).toEqual({});
});

describe('what the journal tells of undo records', () => {
  const log = () => readFileSync(join(base, 'undo-log'), 'utf8').split('\n').filter(Boolean);
  const sums = () => well(['undo-sums']).split('\n').filter(Boolean);
  const made = () =>
    log()
      .filter((line) => line.includes(' made '))
      .map((line) => line.replace(' made', ''));
  const file = () => join(temporary, 'etc/some.conf');

  /** Records of every kind of data: text, a file, a tree with a link, nothing. */
  function records(): void {
    writeFileSync(file(), 'before\n', { mode: 0o640 });
    symlinkSync('/nowhere', join(temporary, 'etc/link'));
    const [theirs, staged] = ['', '/staging'].map((at) => join(`${temporary}${at}`, 'etc/tree'));
    for (const folder of [theirs ?? '', `${temporary}/staging${theirs}`]) {
      mkdirSync(join(folder, 'below'), { recursive: true });
      writeFileSync(join(folder, 'below/a b'), folder);
      symlinkSync('a b', join(folder, 'below/link'));
    }
    expect(staged).toBeDefined();
    well(['postconf', 'g', 'relayhost', 'x', 'mynetworks', 'y']);
    well(['file', 'g', 'some', file(), '644', me], 'x');
    well(['file', 'g', 'link', join(temporary, 'etc/link'), '644', me], 'x');
    well(['tree', 'g', `${temporary}/staging`, theirs ?? '']);
    well(['stop', 'g', 'stop-a', 'a.service', 'stop-b', 'b.service']);
    well(['block', 'g', 'ours', file()], 'ours');
  }

  it('takes up the records of a version that kept no sums, once', () => {
    records();
    for (const name of readdirSync(join(base, 'undo/g'))) rmSync(join(base, 'undo/g', name, 'sum'));
    rmSync(join(base, 'undo-log'));
    writeFileSync(join(base, 'journal.jsonl'), '');
    const told = well(['append', 'journal.jsonl', '0', ''], 'a line\n').split('\n');
    expect(told).toHaveLength(8);
    expect(told).toEqual(log());
    expect(sums()).toEqual(made());
    well(['append', 'journal.jsonl', '7', told.at(-1) ?? ''], 'a line\n');
    expect(log()).toEqual(told);
    const before = new Map(made().map((line) => line.split(' ') as [string, string]));
    well(['undo', 'g']);
    const gone = log().filter((line) => / gone /.test(line) && !line.includes('*'));
    expect(gone.map((line) => line.split(' gone ')).sort()).toEqual([...before].sort());
  });

  it('a line of the journal stands, also where no record can be taken up', () => {
    records();
    for (const name of readdirSync(join(base, 'undo/g'))) rmSync(join(base, 'undo/g', name, 'sum'));
    rmSync(join(base, 'undo-log'));
    writeFileSync(join(base, 'journal.jsonl'), '');
    standIn('sha256sum', 'exit 1');
    expect(well(['append', 'journal.jsonl', '0', ''], 'a line\n')).toBe('');
    expect(readFileSync(join(base, 'journal.jsonl'), 'utf8')).toBe('a line\n');
  });

  it('what the group that stays has saved stays too', () => {
    writeFileSync(file(), 'before\n');
    well(['file', 'finished', 'some', file(), '644', me], 'x');
    well(['file', 'g', 'other', file(), '644', me], 'y');
    const [kept = ''] = made();
    well(['clean-up', 'finished']);
    expect(sums()).toEqual([kept]);
    expect(readdirSync(join(base, 'undo/saved'))).toEqual(['finished-some']);
  });

  it.each(shells)('is a line a record, with what lies there still, under %s', (shell) => {
    install(shell);
    records();
    expect(log().map((line) => line.replace(/[0-9a-f]{64}$/, 'SUM'))).toEqual([
      'g/0000-relayhost made SUM',
      'g/0001-mynetworks made SUM',
      'g/0002-some made SUM',
      'g/0003-link made SUM',
      expect.stringMatching(/^g\/0004-\S+-etc-tree made SUM$/),
      'g/0005-stop-a made SUM',
      'g/0006-stop-b made SUM',
      'g/0007-ours made SUM',
    ]);
    expect(sums()).toEqual(made());
    expect(readdirSync(base).sort()).toEqual(['bin', 'undo', 'undo-log']);
    // By hand, without this program.
    for (const name of readdirSync(join(base, 'undo/g'))) {
      const options = { cwd: join(base, 'undo/g', name), encoding: 'utf8' } as const;
      const { stdout } = spawnSync('sha256sum', ['sum'], options);
      expect(log().join('\n')).toContain(stdout.split(' ')[0]);
      expect(spawnSync('sha256sum', ['-c', 'sum'], options)).toMatchObject({ status: 0 });
    }
  });

  it('is another sum for the same data each time, so that no password can be tried', () => {
    const twice = [0, 1].map(() => {
      well(['record', 'g', 'x', 'kind', 'what'], 'hash of a password');
      const [sum] = sums();
      rmSync(join(base, 'undo/g'), { recursive: true });
      return sum;
    });
    expect(twice[0]).not.toBe(twice[1]);
    expect(readFileSync(join(base, 'undo-log'), 'utf8').match(/made/g)).toHaveLength(2);
  });

  it.each([
    [
      'what was there before',
      (undo: string) => writeFileSync(`${undo}/g/0000-relayhost/before`, 'z'),
    ],
    ['what it is about', (undo: string) => writeFileSync(`${undo}/g/0000-relayhost/what`, 'z')],
    [
      'of which kind it is',
      (undo: string) => writeFileSync(`${undo}/g/0000-relayhost/kind`, 'file'),
    ],
    ['a saved file', (undo: string) => writeFileSync(`${undo}/saved/g-some`, 'z')],
    ['the mode of a saved file', (undo: string) => chmodSync(`${undo}/saved/g-some`, 0o777)],
    [
      'a saved link',
      (undo: string) => {
        rmSync(`${undo}/saved/g-link`);
        symlinkSync('/elsewhere', `${undo}/saved/g-link`);
      },
    ],
    [
      'a file of a saved tree',
      (undo: string) => {
        const [tree = ''] = readdirSync(`${undo}/saved`).filter((name) => name.endsWith('-tree'));
        writeFileSync(`${undo}/saved/${tree}/below/a b`, 'z');
      },
    ],
    [
      'a saved tree, by one file more',
      (undo: string) => {
        const [tree = ''] = readdirSync(`${undo}/saved`).filter((name) => name.endsWith('-tree'));
        writeFileSync(`${undo}/saved/${tree}/new`, '');
      },
    ],
  ])('shows that somebody changed %s, and the undo goes through', (_, change) => {
    records();
    change(join(base, 'undo'));
    const other = sums().filter((line) => !made().includes(line));
    expect(other).toHaveLength(1);
    hostctl(['undo', 'g']);
    const gone = log().filter((line) => line.includes(' gone '));
    expect(gone).toContain(other[0]?.replace(' ', ' gone '));
  });

  it('says what each record held when it was undone, also one by one', () => {
    records();
    const before = made();
    well(['undo-kind', 'g', 'unit']);
    well(['undo-prefix', 'g', 'li']);
    well(['undo-some', 'g', 'ours', 'some']);
    expect(sums()).toHaveLength(3);
    well(['undo', 'g']);
    const lines = log().filter((line) => line.includes(' gone '));
    expect(lines.at(-1)).toMatch(/^g\/\* gone [0-9a-f]{64}$/);
    const gone = lines.slice(0, -1).map((line) => line.replace(' gone', ''));
    const order = [6, 5, 3, 7, 2, 4, 1, 0];
    expect(gone).toEqual(order.map((index) => before[index]));
    expect(sums()).toEqual([]);
    well(['record', 'door', 'x', 'kind', 'what'], 'y');
    const [last] = made().slice(-1);
    well(['clean-up', 'other']);
    expect(log().at(-1)).toBe(last?.replace(' ', ' gone '));
  });

  it('follows a record that we change or move ourselves', () => {
    well(['record', 'g', 'sticky', 'kind', 'homes'], 'a\n');
    well(['put', 'undo/g/0000-sticky/before'], 'a\nb\n');
    expect(made()).toHaveLength(2);
    expect(sums()).toEqual(made().slice(-1));
    mkdirSync(join(base, 'undo/h'));
    execFileSync('mv', [join(base, 'undo/g/0000-sticky'), join(base, 'undo/h/0003-sticky')]);
    well(['record-moved', 'g', '0000-sticky', 'h', '0003-sticky']);
    expect(log().slice(-2)).toEqual([
      'g/0000-sticky gone -',
      `${sums()[0]?.replace(' ', ' made ')}`,
    ]);
  });

  it('is no reason for an undo to stop', () => {
    records();
    // As an older version made it, and where nothing can be written.
    rmSync(join(base, 'undo/g/0000-relayhost/sum'));
    standIn('sha256sum', 'exit 1');
    rmSync(join(base, 'undo-log'));
    mkdirSync(join(base, 'undo-log'));
    well(['undo', 'g']);
    expect(readFileSync(file(), 'utf8')).toBe('before\n');
    expect(existsSync(join(base, 'undo/g'))).toBe(false);
  });

  it('is answered to an append, from the line on that was heard last', () => {
    const append = (text: string, ...more: string[]) => {
      const path = join(base, 'journal.jsonl');
      const bytes = existsSync(path) ? readFileSync(path).length : 0;
      return well(['append', 'journal.jsonl', String(bytes), ...more], text);
    };
    expect(append('1\n', '')).toBe('');
    well(['record', 'g', 'x', 'kind', 'what'], 'y');
    well(['record', 'g', 'y', 'kind', 'what'], 'y');
    const [first = '', second = ''] = log();
    expect(append('2\n')).toBe('');
    expect(append('3\n', '')).toBe(`${first}\n${second}`);
    expect(append('4\n', first)).toBe(second);
    expect(append('5\n', second)).toBe('');
    expect(append('6\n', 'g/0000-z made of another host')).toBe(`${first}\n${second}`);
  });
});

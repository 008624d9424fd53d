import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { UserError } from '../errors.ts';
import { canonicalMigration, loadMigration, parseMigration } from './load.ts';

const key = (letter: string) => `SHA256:${letter.repeat(43)}`;

const good = `name: orchard
mail-system: postfix-dovecot
old:
  address: 192.0.2.11
  host-keys: ["${key('a')}"]
new:
  address: 192.0.2.12
  host-keys: ["${key('b')}"]
domains: [orchard.example]
dns:
  - zone: orchard.example
    provider: rfc2136
    server: 192.0.2.53
    records:
      - name: mail.orchard.example
        type: A
        values: [192.0.2.12]
`;

/** The lines of the refusal; fails when the text is accepted. */
function faultsOf(text: string): string[] {
  try {
    parseMigration(text, 'm.yml');
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as Error).message.split('\n');
  }
  throw new Error('was accepted');
}

function edited(from: string | RegExp, to: string): string {
  const text = good.replace(from, to);
  expect(text).not.toBe(good);
  return text;
}

describe('a good file', () => {
  it('gets its defaults', () => {
    const migration = parseMigration(good, 'm.yml');
    expect(migration.old).toMatchObject({ port: 22, user: 'root' });
    expect(migration.freeze).toEqual({ mode: 'hold', 'max-minutes': 60 });
    expect(migration['late-mail'].port).toBe(10125);
  });

  it('may use a few aliases', () => {
    const text = edited('domains: [orchard.example]', 'domains: &d [orchard.example]\ncarry: []');
    expect(parseMigration(text, 'm.yml').domains).toEqual(['orchard.example']);
  });

  it('has one canonical form, whatever the order of keys and whichever defaults are written', () => {
    const { name, ...rest } = parseMigration(good, 'm.yml');
    const other = parseMigration(`cutover: dns\n${good}freeze:\n  max-minutes: 60\n`, 'm.yml');
    expect(canonicalMigration({ ...rest, name })).toBe(canonicalMigration(other));
    const changed = parseMigration(edited('192.0.2.53', '192.0.2.54'), 'm.yml');
    expect(canonicalMigration(changed)).not.toBe(canonicalMigration(other));
  });
});

describe('faults', () => {
  it('are all told at once, in the order of the file, with line and column', () => {
    const text = good
      .replace('name: orchard', 'name: Orchard!')
      .replace('domains:', 'freze: {}\ndomains:')
      .replace('type: A', 'type: AAA')
      .replace(key('b'), 'SHA256:short');
    expect(faultsOf(text)).toEqual([
      'm.yml:1:1: name: "Orchard!" is not valid: use a-z, 0-9 and "-", at most 40 characters',
      expect.stringMatching(
        /^m\.yml:8:15: new\.host-keys\[0\]: "SHA256:short" is not valid: write/,
      ),
      'm.yml:9:1: freze: unknown key; did you mean "freeze"?',
      'm.yml:17:9: dns[0].records[0].type: "AAA" is not one of: A, AAAA, MX, TXT, CNAME, SRV, TLSA, CAA, PTR; did you mean "AAAA"?',
    ]);
  });

  it.each([
    ['not YAML', edited('old:', 'old: ['), /^m\.yml:\d+:\d+: not valid YAML: /],
    ['empty', '', 'm.yml:1:1: the file is empty; describe a migration in it'],
    ['a list', '- a', 'm.yml:1:1: must be a mapping of keys to values, not a list'],
    [
      'a key twice',
      edited('mail-system', 'name: b\nmail-system'),
      'm.yml:2:1: this key stands twice in the same mapping; remove one',
    ],
    [
      'a missing part',
      edited(/new:\n.*\n.*\n/, ''),
      'm.yml:1:1: new: is missing; it must be a mapping of keys to values',
    ],
    [
      'an unknown mail system',
      edited('postfix-dovecot', 'exim'),
      'm.yml:2:1: mail-system: "exim" is not one of: postfix-dovecot, chatmail, qmail',
    ],
    [
      'the tool of a relay for another server',
      edited('mail-system: postfix-dovecot', 'mail-system: postfix-dovecot\nprovision: cmdeploy'),
      'm.yml:3:1: provision: "cmdeploy" needs "mail-system: chatmail"',
    ],
    [
      'settings of a relay for another server',
      edited('mail-system: postfix-dovecot', 'mail-system: postfix-dovecot\nchatmail: {}'),
      'm.yml:3:1: chatmail: has no effect without "mail-system: chatmail"',
    ],
    [
      'a relay whose configuration is copied',
      edited('mail-system: postfix-dovecot', 'mail-system: chatmail\nprovision: copy'),
      'm.yml:3:1: provision: a relay is set up by its own tool: write "cmdeploy", or "prepared"',
    ],
    [
      'a published freeze that would not stop Postfix',
      edited('mail-system: postfix-dovecot', 'mail-system: chatmail\nchatmail: {freeze: cmdeploy}'),
      'm.yml:3:12: chatmail.freeze: "cmdeploy" stops Postfix too: it needs "freeze: {mode: stop}"',
    ],
    [
      'clients that a relay has not',
      edited(
        'mail-system: postfix-dovecot',
        'mail-system: chatmail\nlate-clients: {carry: [imap, pop3]}',
      ),
      'm.yml:3:30: late-clients.carry[1]: a relay has no such clients; leave it out',
    ],
    [
      'a number as text',
      edited('name: orchard', 'name: 7'),
      'm.yml:1:1: name: must be text, not 7',
    ],
    [
      'a fraction',
      edited('address: 192.0.2.11', 'address: 192.0.2.11\n  port: 2.5'),
      'm.yml:5:3: old.port: must be a whole number, not 2.5',
    ],
    [
      'a port too big',
      edited('address: 192.0.2.11', 'address: 192.0.2.11\n  port: 70000'),
      'm.yml:5:3: old.port: must be at most 65535',
    ],
    ['no domains', edited('[orchard.example]', '[]'), 'm.yml:9:1: domains: needs at least 1 entry'],
    [
      'the same host',
      edited('192.0.2.12', '192.0.2.11'),
      'm.yml:7:3: new.address: OLD and NEW are the same host; NEW must be another',
    ],
    [
      'the same host in two spellings',
      edited('192.0.2.11', 'fd77:0::11').replace('192.0.2.12', '"FD77::0:11"'),
      'm.yml:7:3: new.address: OLD and NEW are the same host; NEW must be another',
    ],
    [
      'the same host by two ports',
      edited('192.0.2.12', '192.0.2.11\n  port: 23').replace(key('b'), key('a')),
      'm.yml:7:3: new.address: OLD and NEW are the same host; NEW must be another',
    ],
    [
      'a name outside its zone',
      edited('name: mail.orchard.example', 'name: mail.myorchard.example'),
      'm.yml:15:9: dns[0].records[0].name: "mail.myorchard.example" is not inside the zone "orchard.example"',
    ],
    [
      'an address of the other family',
      edited('values: [192.0.2.12]', 'values: ["2001:db8::1"]'),
      'm.yml:17:18: dns[0].records[0].values[0]: "2001:db8::1" is not an IPv4 address',
    ],
    [
      'rfc2136 without server',
      edited('    server: 192.0.2.53\n', ''),
      'm.yml:12:5: dns[0].provider: "rfc2136" needs server',
    ],
    [
      'address without a command',
      `${good}cutover: address\n`,
      'm.yml:18:1: cutover: "address" needs address-command',
    ],
    [
      'dns without zones',
      edited(/dns:\n[\s\S]*/, 'cutover: dns\n'),
      'm.yml:10:1: cutover: "dns" needs at least one zone under dns',
    ],
    [
      'a command that never runs',
      `${good}address-command: [move]\n`,
      'm.yml:18:1: address-command: would never run: it needs "cutover: address"',
    ],
    [
      'a probe elsewhere',
      `${good}probe:\n  mailbox: probe@elsewhere.example\n`,
      'm.yml:19:3: probe.mailbox: "elsewhere.example" is not one of the domains',
    ],
    [
      'a domain twice',
      edited('[orchard.example]', '[orchard.example, orchard.example]'),
      'm.yml:9:28: domains[1]: stands here twice',
    ],
    [
      'an RRset twice',
      `${good}      - { name: mail.orchard.example, type: A, values: [] }\n`,
      'm.yml:18:9: dns[0].records[1]: "mail.orchard.example A" stands here twice; one entry holds the whole RRset',
    ],
    [
      'a zone twice',
      `${good}  - { zone: orchard.example, provider: rfc2136, server: a, records: [{ name: orchard.example, type: MX, values: ["10 mail.orchard.example"] }] }\n`,
      'm.yml:18:7: dns[1].zone: stands here twice; put all records of a zone under one entry',
    ],
    [
      'a store in a store',
      `${good}stores: [/srv/mail, /srv//mail/vhosts/]\n`,
      'm.yml:18:21: stores[1]: lies inside the store "/srv/mail", which already moves it; remove one',
    ],
    [
      'an MX to an address',
      edited('type: A', 'type: MX').replace('[192.0.2.12]\n', '["10 192.0.2.12"]\n'),
      'm.yml:17:18: dns[0].records[0].values[0]: "10 192.0.2.12" names an address; an MX names a host',
    ],
  ])('%s', (_, text, line) => {
    expect(faultsOf(text)).toEqual([typeof line === 'string' ? line : expect.stringMatching(line)]);
  });

  it('of fields and between fields are told together', () => {
    const lines = faultsOf(edited('192.0.2.12', '192.0.2.11').replace('mail-system', 'mailsystem'));
    expect(lines.join('\n')).toContain('did you mean "mail-system"?');
    expect(lines.join('\n')).toContain('OLD and NEW are the same host');
  });

  it('stores with the same beginning are not inside each other', () => {
    const text = `${good}stores: [/srv/mail, /srv/mail2]\n`;
    expect(parseMigration(text, 'm.yml').stores).toHaveLength(2);
  });

  it('the same address behind another jump host is another host', () => {
    const jump = `  jump: { address: bastion, host-keys: ["${key('c')}"] }\n`;
    const text = edited('192.0.2.12', '192.0.2.11').replace('domains:', `${jump}domains:`);
    expect(parseMigration(text, 'm.yml').new.jump?.address).toBe('bastion');
  });

  it('secrets are refused and not repeated', () => {
    for (const name of ['password', 'ssh-key', 'tsig-secret', 'api_token', 'key']) {
      const lines = faultsOf(edited('  address: 192.0.2.11', `  ${name}: hunter2\n  address: x`));
      expect(lines).toEqual([expect.stringContaining(`old.${name}: secrets are inputs`)]);
      expect(lines.join()).not.toContain('hunter2');
    }
    const pasted = faultsOf(`${good}carry: ["-----BEGIN OPENSSH PRIVATE KEY-----"]\n`).join('\n');
    expect(pasted).toContain('carry[0]: holds a private key');
  });

  it('aliases that explode are refused fast', () => {
    const levels = Array.from(
      { length: 12 },
      (_, i) => `l${i + 1}: &l${i + 1} [${Array(9).fill(`*l${i}`).join(', ')}]`,
    );
    const text = ['l0: &l0 [x]', ...levels].join('\n');
    expect(faultsOf(text)).toEqual([expect.stringContaining('alias')]);
  });
});

describe('a file that is not there', () => {
  const folders: string[] = [];
  afterEach(async () => {
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
  });

  async function folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'load-'));
    folders.push(path);
    return path;
  }

  it('is one line that says what to create', async () => {
    const path = join(await folder(), 'none.yml');
    const error = await loadMigration(path).catch((e: unknown) => e as Error);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(/none\.yml: there is no migration file; create it/);
    expect((error as Error).message).not.toContain('\n');
  });

  it('nor is a folder or a binary one', async () => {
    const path = await folder();
    await expect(loadMigration(path)).rejects.toThrow('is a folder');
    const binary = join(path, 'binary.yml');
    await writeFile(binary, Buffer.from([0x6e, 0xff, 0xfe]));
    await expect(loadMigration(binary)).rejects.toThrow('is not UTF-8 text');
  });
});

describe('qmail', () => {
  const base = (extra: string) => `name: move
mail-system: qmail
old: { address: 192.0.2.1, host-keys: ["SHA256:${'a'.repeat(43)}"] }
new: { address: 192.0.2.2, host-keys: ["SHA256:${'b'.repeat(43)}"] }
domains: [example.org]
cutover: address
address-command: ["true"]
${extra}`;
  const said = (text: string) => {
    try {
      parseMigration(text, 'file');
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };

  it.each([
    ['', /^file:2:1: mail-system: "qmail" needs the section qmail/],
    ['qmail: { strategy: both }\n', /^file:\d+:\d+: qmail\.strategy: .*snapshot.*redirect/],
    ['qmail: { strategy: snapshot, way: 1 }\n', /^file:\d+:\d+: qmail.*way/],
    [
      'qmail: { strategy: snapshot }\nfreeze: { mode: stop }\n',
      /freeze\.mode: "stop" is not for qmail/,
    ],
    ['qmail: { strategy: snapshot }\nprovision: copy\n', /provision: "copy" is not for qmail/],
    ['qmail: { strategy: snapshot, path: qmail }\n', /qmail\.path: .*write an absolute path/],
  ])('%j is refused in one line', (extra, message) => {
    const text = said(base(extra));
    expect(text).toMatch(message);
    expect(text.split('\n')).toHaveLength(1);
  });

  it('is taken with a strategy', () => {
    expect(said(base('qmail: { strategy: redirect, variant: mysql }\n'))).toBe('');
  });

  it('its section counts only with it', () => {
    const text = base('qmail: { strategy: redirect }\n').replace(
      'system: qmail',
      'system: postfix-dovecot',
    );
    expect(said(text)).toContain('qmail: counts only with "mail-system: qmail"');
  });
});

import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ZoneConfig } from '../../src/config/schema.ts';
import {
  DnsDrift,
  type DnsProvider,
  type RRset,
  type RRsetChange,
} from '../../src/dns/provider.ts';
import { query } from '../../src/dns/query.ts';
import { createRfc2136 } from '../../src/dns/rfc2136.ts';
import { UserError } from '../../src/errors.ts';
import { startProxy } from './proxy.ts';
import { key, type ServerKind, type Site, startSite, wrongSecret, zones } from './servers.ts';

/** Nobody takes over, where a test does not say otherwise. */
interface ProviderUnderTest extends DnsProvider {
  change(changes: readonly RRsetChange[], confirm?: () => Promise<void>): Promise<void>;
}

function alwaysConfirmed(provider: DnsProvider): ProviderUnderTest {
  return {
    zone: provider.zone,
    read: (name, type) => provider.read(name, type),
    change: (changes, confirm = async () => {}) => provider.change(changes, confirm),
    lagging: (expected) => provider.lagging(expected),
    verifyAccess: async () => provider.verifyAccess?.(),
  };
}

/** What every server that takes RFC 2136 updates must do for the provider to keep its promises. */
export function providerSuite(label: string, kind: ServerKind): void {
  let site: Site;
  let provider: ProviderUnderTest;
  let names = 0;

  beforeAll(async () => {
    site = await startSite(kind);
    provider = at(site.primary);
  }, 30_000);
  afterAll(() => site?.stop());

  const credential = `${key.name}:${key.secret}`;

  function at(
    server: { address: string; port: number },
    over: {
      zone?: string;
      credential?: string | undefined;
      records?: ZoneConfig['records'];
    } = {},
  ): ProviderUnderTest {
    const zone: ZoneConfig = {
      zone: over.zone ?? zones.open,
      provider: 'rfc2136',
      server: server.address,
      port: server.port,
      ttl: 300,
      records: over.records ?? [],
    };
    // The names of the zone lead to the loopback; nothing is looked up elsewhere.
    const network = { addresses: async () => [], nameServerPort: site.primary.port };
    return alwaysConfirmed(
      createRfc2136(zone, 'credential' in over ? over.credential : credential, network),
    );
  }

  /** A name that no other test uses. */
  const fresh = () => {
    names += 1;
    return `t${names}.${zones.open}`;
  };
  const set = (name: string, type: string, ttl: number, ...values: string[]): RRset => ({
    name,
    type,
    ttl,
    values,
  });
  const none = (name: string, type: string) => set(name, type, 0);

  /** Makes an RRset of a new name and returns it. */
  async function seeded(type: string, ttl: number, ...values: string[]): Promise<RRset> {
    const after = set(fresh(), type, ttl, ...values);
    await provider.change([{ before: none(after.name, type), after }]);
    return after;
  }

  async function serial(): Promise<unknown> {
    const { answers } = await query(site.primary, zones.open, 'SOA');
    return answers[0]?.type === 'SOA' ? answers[0].data.serial : undefined;
  }

  /** The error's message, which must be one line for people and hold no secret. */
  async function refusalOf(promise: Promise<unknown>): Promise<string> {
    const error = await promise.then(
      () => undefined,
      (thrown) => thrown,
    );
    expect(error).toBeInstanceOf(UserError);
    expect(error).not.toBeInstanceOf(DnsDrift);
    expect(error.message).not.toContain('\n');
    for (const secret of [key.secret, wrongSecret]) {
      expect(`${error.message} ${error.stack} ${error.cause}`).not.toContain(secret);
    }
    return error.message;
  }

  describe(`${label}: read`, () => {
    it('gives values and TTL', async () => {
      const a = await provider.read(`Mail.${zones.open}.`, 'A');
      expect(a).toEqual(set(`mail.${zones.open}`, 'A', 300, '10.77.0.11'));
    });

    it('gives no values where the name or the type is missing', async () => {
      const name = fresh();
      expect(await provider.read(name, 'A')).toEqual(none(name, 'A'));
      expect(await provider.read(`mail.${zones.open}`, 'MX')).toEqual(
        none(`mail.${zones.open}`, 'MX'),
      );
    });

    it('needs no credential', async () => {
      const reader = at(site.primary, { credential: undefined });
      expect((await reader.read(`mail.${zones.open}`, 'A')).values).toEqual(['10.77.0.11']);
    });

    it('names the target of an alias', async () => {
      const message = await refusalOf(provider.read(`alias.${zones.open}`, 'A'));
      expect(message).toContain(`alias.${zones.open} is an alias (CNAME) of mail.${zones.open}`);
      expect((await provider.read(`alias.${zones.open}`, 'CNAME')).values).toEqual([
        `mail.${zones.open}`,
      ]);
    });

    it('refuses a name outside the zone', async () => {
      expect(await refusalOf(provider.read('mail.other.example', 'A'))).toContain(
        'not within zone',
      );
      const near = `x${zones.open}`;
      expect(await refusalOf(provider.read(near, 'A'))).toContain('not within zone');
    });

    it('refuses a server that does not serve the zone', async () => {
      const stranger = at(site.primary, { zone: 'foreign.example' });
      const message = await refusalOf(stranger.read('mail.foreign.example', 'A'));
      expect(message).toContain('not the primary of zone foreign.example');
    });
  });

  describe(`${label}: change`, () => {
    it('adds, replaces and removes in one update', async () => {
      const a = await seeded('A', 60, '10.77.0.11', '10.77.0.13');
      const newA = set(a.name, 'A', 30, '10.77.0.12');
      const aaaa = set(a.name, 'AAAA', 30, 'fd77::12');
      await provider.change([
        { before: a, after: newA },
        { before: none(a.name, 'AAAA'), after: aaaa },
      ]);
      expect(await provider.read(a.name, 'A')).toEqual(newA);
      expect(await provider.read(a.name, 'AAAA')).toEqual(aaaa);

      await provider.change([{ before: aaaa, after: none(a.name, 'AAAA') }]);
      expect(await provider.read(a.name, 'AAAA')).toEqual(none(a.name, 'AAAA'));
      expect(await provider.read(a.name, 'A')).toEqual(newA);
    });

    it('honours a change of the TTL alone', async () => {
      const before = await seeded('A', 3600, '10.77.0.11');
      await provider.change([{ before, after: { ...before, ttl: 5 } }]);
      expect((await provider.read(before.name, 'A')).ttl).toBe(5);
    });

    it('takes values in any spelling', async () => {
      const aaaa = await seeded('AAAA', 60, 'FD77:0:0::0011', 'fd77::0012');
      expect((await provider.read(aaaa.name, 'AAAA')).values).toEqual(['fd77::11', 'fd77::12']);
      const before = set(`${aaaa.name.toUpperCase()}.`, 'AAAA', 1, 'fd77::12', 'fd77:0::11');
      await provider.change([{ before, after: set(aaaa.name, 'AAAA', 60, 'FD77::13') }]);
      expect((await provider.read(aaaa.name, 'AAAA')).values).toEqual(['fd77::13']);
    });

    it.each([
      ['MX', '10 Mail.change.example.', '10 mail.change.example'],
      ['MX', '0 .', '0 .'],
      ['TXT', 'v=spf1 mx -all', '"v=spf1 mx -all"'],
      ['TXT', '"v=DKIM1; k=rsa" "p=\\"a\\\\b\\010$@"', '"v=DKIM1; k=rsa" "p=\\"a\\\\b\\010$@"'],
      ['TXT', 'k'.repeat(400), `"${'k'.repeat(255)}" "${'k'.repeat(145)}"`],
      ['SRV', '0 1 993 mail.change.example', '0 1 993 mail.change.example'],
      ['TLSA', '3 1 1 0A1B', '3 1 1 0a1b'],
      ['CAA', '0 issue "ca.example; x=y"', '0 issue "ca.example; x=y"'],
      ['CNAME', 'mail.change.example', 'mail.change.example'],
      ['PTR', 'mail.change.example.', 'mail.change.example'],
    ])('carries %s %s there and back', async (type, value, canonical) => {
      const before = await seeded(type, 60, value);
      expect(await provider.read(before.name, type)).toEqual(set(before.name, type, 60, canonical));
      await provider.change([{ before, after: none(before.name, type) }]);
      expect((await provider.read(before.name, type)).values).toEqual([]);
    });

    it('reaches a server by IPv6', async () => {
      const proxy = await startProxy(site.primary, '::1');
      const after = set(fresh(), 'A', 60, '10.77.0.12');
      await at(proxy).change([{ before: none(after.name, 'A'), after }]);
      expect(await provider.read(after.name, 'A')).toEqual(after);
      expect(proxy.updates).toBe(1);
      proxy.close();
    });

    it('sends nothing where all is there already', async () => {
      const before = await seeded('A', 60, '10.77.0.11');
      const after = set(before.name, 'A', 60, '10.77.0.12');
      await provider.change([{ before, after }]);
      const proxy = await startProxy(site.primary);
      const was = await serial();
      await at(proxy).change([{ before, after }]);
      expect(proxy.updates).toBe(0);
      expect(await serial()).toBe(was);
      proxy.close();
    });

    it('goes on where only a part is there', async () => {
      const [a, b] = [await seeded('A', 60, '10.77.0.11'), await seeded('A', 60, '10.77.0.11')];
      const changes = [a, b].map((before) => ({
        before,
        after: { ...before, values: ['10.77.0.12'] },
      }));
      await provider.change(changes.slice(0, 1));
      await provider.change(changes);
      expect((await provider.read(a.name, 'A')).values).toEqual(['10.77.0.12']);
      expect((await provider.read(b.name, 'A')).values).toEqual(['10.77.0.12']);
    });
  });

  describe(`${label}: drift`, () => {
    /** Two good RRsets, of which the second no longer is what the plan saw. */
    async function plannedChanges() {
      const [one, two] = [await seeded('A', 60, '10.77.0.11'), await seeded('A', 60, '10.77.0.99')];
      const seen = { ...two, values: ['10.77.0.11'] };
      const changes = [one, seen].map((before) => ({
        before,
        after: { ...before, values: ['10.77.0.12'] },
      }));
      return { one, two, changes };
    }

    it('is refused with the difference, and nothing is changed', async () => {
      const { one, two, changes } = await plannedChanges();
      const was = await serial();
      const refused = provider.change(changes);
      await expect(refused).rejects.toThrow(DnsDrift);
      await expect(refused).rejects.toThrow(
        `${two.name}: expected A 10.77.0.11, found A 10.77.0.99`,
      );
      expect(await provider.read(one.name, 'A')).toEqual(one);
      expect(await provider.read(two.name, 'A')).toEqual(two);
      expect(await serial()).toBe(was);
    });

    it.each([
      ['a value more', ['10.77.0.11', '10.77.0.13']],
      ['a value less', []],
    ])('is seen in %s', async (_, values) => {
      const found = await seeded('A', 60, '10.77.0.11');
      await provider.change([{ before: found, after: { ...found, values } }]);
      const refused = provider.change([
        { before: found, after: { ...found, values: ['10.77.0.12'] } },
      ]);
      await expect(refused).rejects.toThrow(DnsDrift);
    });

    it('is seen in an RRset that should not be there', async () => {
      const found = await seeded('A', 60, '10.77.0.11');
      const after = set(found.name, 'A', 60, '10.77.0.12');
      const refused = provider.change([{ before: none(found.name, 'A'), after }]);
      await expect(refused).rejects.toThrow('expected no A, found A 10.77.0.11');
    });

    it.each([
      ['another value', ['10.77.0.11'], ['10.77.0.98']],
      ['a value more', ['10.77.0.11'], ['10.77.0.11', '10.77.0.98']],
      ['an RRset that comes up', [], ['10.77.0.98']],
    ])('between look and update is refused by the server: %s', async (_, first, meanwhile) => {
      const other = await seeded('A', 60, '10.77.0.21');
      const before = set(fresh(), 'A', first.length === 0 ? 0 : 60, ...first);
      await provider.change([{ before: none(before.name, 'A'), after: before }]);
      const drifted = { ...before, ttl: 60, values: meanwhile };
      const proxy = await startProxy(site.primary);
      proxy.onUpdate = async () => {
        await provider.change([{ before, after: drifted }]);
        return 'pass';
      };
      const refused = at(proxy).change([
        { before: other, after: { ...other, values: ['10.77.0.22'] } },
        { before, after: { ...before, ttl: 60, values: ['10.77.0.12'] } },
      ]);
      await expect(refused).rejects.toThrow(DnsDrift);
      await expect(refused).rejects.toThrow(`found A ${meanwhile.join(', ')}`);
      expect(proxy.updates).toBe(1);
      expect(await provider.read(other.name, 'A')).toEqual(other);
      expect(await provider.read(before.name, 'A')).toEqual(drifted);
      proxy.close();
    });

    it('names a wildcard as the likely reason where the zone answers, yet has no such RRset', async () => {
      const before = await provider.read(`x.wild.${zones.open}`, 'A');
      expect(before.values).toEqual(['10.77.0.11']);
      const refused = provider.change([{ before, after: { ...before, values: ['10.77.0.12'] } }]);
      await expect(refused).rejects.toThrow(/wildcard/);
    });
  });

  describe(`${label}: a run that another has overtaken`, () => {
    const stopped = new UserError('lock 1 was taken over by lock 2');

    async function planned() {
      const before = await seeded('A', 60, '10.77.0.11');
      return { before, after: { ...before, values: ['10.77.0.12'] } };
    }

    it('sends nothing once it is told so', async () => {
      const { before, after } = await planned();
      const refused = provider.change([{ before, after }], async () => {
        throw stopped;
      });
      await expect(refused).rejects.toBe(stopped);
      expect(await provider.read(before.name, 'A')).toEqual(before);
    });

    it('is refused by the server if the other one changed the zone, though not these records', async () => {
      const { before, after } = await planned();
      let looks = 0;
      const refused = provider.change([{ before, after }], async () => {
        looks += 1;
        // The other one comes after this look: it changes the records and takes the change back.
        if (looks === 2) throw stopped;
        await provider.change([{ before, after: { ...before, ttl: 59 } }]);
        await provider.change([{ before, after: before }]);
      });
      await expect(refused).rejects.toBe(stopped);
      expect(await provider.read(before.name, 'A')).toEqual(before);
    });

    it('is one that nobody overtook if others change other records: it goes on', async () => {
      const { before, after } = await planned();
      let looks = 0;
      await provider.change([{ before, after }], async () => {
        looks += 1;
        if (looks < 3) await seeded('A', 60, '10.77.0.99');
      });
      expect(looks).toBe(3);
      expect(await provider.read(before.name, 'A')).toEqual(after);
    });

    it('changes a zone whose server shows another serial than it holds, after another look', async () => {
      const { before, after } = await planned();
      const proxy = await startProxy(site.primary);
      proxy.onReply = withOtherSerial;
      let looks = 0;
      await at(proxy).change([{ before, after }], async () => {
        looks += 1;
      });
      expect([looks, proxy.updates]).toEqual([2, 2]);
      expect(await provider.read(before.name, 'A')).toEqual(after);
      proxy.close();
    });

    it('gives up where the zone never rests', async () => {
      const { before, after } = await planned();
      const refused = provider.change([{ before, after }], async () => {
        await seeded('A', 60, '10.77.0.99');
      });
      expect(await refusalOf(refused)).toContain('changes so often');
      expect(await provider.read(before.name, 'A')).toEqual(before);
    });
  });

  describe(`${label}: refused, in one line with the cure`, () => {
    const change = () => {
      const after = set(fresh(), 'A', 60, '10.77.0.12');
      return [{ before: none(after.name, 'A'), after }];
    };

    it('no credential', async () => {
      const reader = at(site.primary, { credential: undefined });
      expect(await refusalOf(reader.change(change()))).toContain('dns-credentials');
    });

    it('wrong secret', async () => {
      const changes = change();
      const wrong = at(site.primary, { credential: `${key.name}:${wrongSecret}` });
      expect(await refusalOf(wrong.change(changes))).toContain('(BADSIG)');
      const name = changes[0]?.after.name ?? '';
      expect((await provider.read(name, 'A')).values).toEqual([]);
    });

    it('unknown key', async () => {
      const wrong = at(site.primary, { credential: `stranger:${key.secret}` });
      expect(await refusalOf(wrong.change(change()))).toContain('does not know TSIG key stranger');
    });

    it('another algorithm than the key has', async () => {
      const wrong = at(site.primary, { credential: `hmac-sha512:${key.name}:${key.secret}` });
      expect(await refusalOf(wrong.change(change()))).toContain('(BADKEY)');
    });

    it('a zone that this key may not change', async () => {
      const closed = at(site.primary, { zone: zones.closed });
      const before = await closed.read(`mail.${zones.closed}`, 'A');
      const refused = closed.change([{ before, after: { ...before, values: ['10.77.0.12'] } }]);
      // BIND says REFUSED, Knot BADKEY.
      expect(await refusalOf(refused)).toMatch(/REFUSED|not for this zone/);
      expect(await closed.read(`mail.${zones.closed}`, 'A')).toEqual(before);
    });

    it('an alias that comes up meanwhile, beside which the server passes the change over', async () => {
      // RFC 2136 section 3.4.2.2: the update succeeds, and adds nothing.
      const after = set(fresh(), 'A', 60, '10.77.0.12');
      const alias = set(after.name, 'CNAME', 60, `mail.${zones.open}`);
      const proxy = await startProxy(site.primary);
      proxy.onUpdate = async () => {
        await provider.change([{ before: none(after.name, 'CNAME'), after: alias }]);
        return 'pass';
      };
      const refused = at(proxy).change([{ before: none(after.name, 'A'), after }]);
      expect(await refusalOf(refused)).toContain(`${after.name} is an alias (CNAME)`);
      proxy.close();
    });

    it('a change that the server accepts and does not show', async () => {
      const after = set(fresh(), 'A', 60, '10.77.0.12');
      const proxy = await startProxy(site.primary);
      proxy.onUpdated = () => provider.change([{ before: after, after: none(after.name, 'A') }]);
      const refused = at(proxy).change([{ before: none(after.name, 'A'), after }]);
      expect(await refusalOf(refused)).toContain(
        `does not show it (${after.name}: no A instead of A 10.77.0.12, TTL 60)`,
      );
      proxy.close();
    }, 20_000);

    it('a server that is down', async () => {
      const closedPort = await startProxy(site.primary);
      closedPort.close();
      const message = await refusalOf(at(closedPort).change(change()));
      expect(message).toContain('does not answer (connection refused)');
    });

    it('a server that is silent', async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const address = server.address();
      const port = address && typeof address === 'object' ? address.port : 0;
      const message = await refusalOf(at({ address: '127.0.0.1', port }).change(change()));
      expect(message).toContain('does not answer (no reply within 3 s)');
      server.close();
    }, 20_000);

    it('a server that goes down before the update', async () => {
      const proxy = await startProxy(site.primary);
      proxy.onUpdate = async () => {
        proxy.close();
        return 'ignore';
      };
      expect(await refusalOf(at(proxy).change(change()))).toMatch(/does not answer|no reply/);
    }, 30_000);
  });

  describe(`${label}: verifyAccess`, () => {
    const mail = (zone: string): ZoneConfig['records'] => [
      { name: `mail.${zone}`, type: 'A', values: ['10.77.0.12'] },
      { name: `mail.${zone}`, type: 'AAAA', values: [] },
      { name: `none.${zone}`, type: 'A', values: ['10.77.0.12'] },
    ];
    const access = (over: { zone?: string; credential?: string | undefined } = {}) =>
      at(site.primary, { ...over, records: mail(over.zone ?? zones.open) }).verifyAccess?.() ??
      Promise.reject(new Error('there is no verifyAccess'));

    it('passes with the right key and changes nothing, not even the serial', async () => {
      const names = [`mail.${zones.open}`, `none.${zones.open}`];
      const look = () =>
        Promise.all([
          serial(),
          ...names.flatMap((name) => ['A', 'AAAA'].map((type) => provider.read(name, type))),
        ]);
      const was = await look();
      await access();
      expect(await look()).toEqual(was);
    });

    it('refuses a wrong secret, an unknown key, another algorithm, no key', async () => {
      const wrong = access({ credential: `${key.name}:${wrongSecret}` });
      expect(await refusalOf(wrong)).toContain('(BADSIG)');
      const stranger = access({ credential: `stranger:${key.secret}` });
      expect(await refusalOf(stranger)).toContain('does not know TSIG key stranger');
      const other = access({ credential: `hmac-sha512:${key.name}:${key.secret}` });
      expect(await refusalOf(other)).toContain('(BADKEY)');
      expect(await refusalOf(access({ credential: undefined }))).toContain('dns-credentials');
    });

    it('refuses a zone that this key may not change', async () => {
      const refused = access({ zone: zones.closed });
      expect(await refusalOf(refused)).toMatch(/REFUSED|not for this zone/);
    });
  });

  describe(`${label}: the update on its way`, () => {
    it('shows the secret in no process list or environment', async () => {
      const proxy = await startProxy(site.primary);
      let seen: string[] = [];
      proxy.onUpdate = async () => {
        seen = await processes();
        return 'pass';
      };
      const after = set(fresh(), 'A', 60, '10.77.0.12');
      await at(proxy).change([{ before: none(after.name, 'A'), after }]);
      expect(seen.some((process) => process.startsWith('nsupdate\0'))).toBe(true);
      expect(seen.filter((process) => process.includes(key.secret))).toEqual([]);
      proxy.close();
    });

    it('counts as made when only the reply was lost', async () => {
      const proxy = await startProxy(site.primary);
      proxy.onUpdate = async () => 'drop-reply';
      const after = set(fresh(), 'A', 60, '10.77.0.12');
      await at(proxy).change([{ before: none(after.name, 'A'), after }]);
      expect(await provider.read(after.name, 'A')).toEqual(after);
      proxy.close();
    });
  });

  describe(`${label}: lagging`, () => {
    it('names a secondary that has the old zone, until it has the new one', async () => {
      const before = await provider.read(`mail.${zones.open}`, 'A');
      const after = { ...before, ttl: 5, values: ['10.77.0.12'] };
      await provider.change([{ before, after }]);
      expect(await provider.lagging(after)).toEqual([
        `ns2.${zones.open} (::1): still A 10.77.0.11, TTL 300`,
      ]);
      await site.notify();
      const deadline = Date.now() + 20_000;
      while ((await provider.lagging(after)).length > 0 && Date.now() < deadline) await sleep(100);
      expect(await provider.lagging(after)).toEqual([]);
      expect(await provider.lagging({ ...after, ttl: 6 })).toHaveLength(2);
      expect(await provider.lagging(none(fresh(), 'A'))).toEqual([]);
    }, 30_000);

    it('names a secondary whose zone is older, though it answers right', async () => {
      await seeded('A', 60, '10.77.0.12');
      const mail = await provider.read(`mail.${zones.open}`, 'AAAA');
      const [line, ...more] = await provider.lagging(mail);
      expect(line).toMatch(/^ns2\.change\.example \(::1\): SOA serial \d+, the primary has \d+$/);
      expect(more).toEqual([]);
    });

    it('names a name server that has no address', async () => {
      const lost = at(site.primary, { zone: zones.lost });
      const expected = await lost.read(`mail.${zones.lost}`, 'A');
      const lines = await lost.lagging(expected);
      expect(lines).toHaveLength(1);
      expect(lines[0]).toContain('ns.nowhere.invalid: name server of the zone, but has no address');
    });

    it('counts the primary also when it is down', async () => {
      const down = await startProxy(site.primary);
      down.close();
      const lines = await at(down).lagging(set(`mail.${zones.open}`, 'A', 300, '10.77.0.11'));
      expect(lines.join()).toContain('127.0.0.1: no answer, connection refused');
    });
  });
}

/** As servers do that sign a copy of the zone, or count the serial anew. The serial stands before REFRESH. */
function withOtherSerial(reply: Buffer): Buffer {
  const at = reply.indexOf(Buffer.from('00000e1000000258', 'hex'));
  if (at >= 0) reply.writeUInt32BE(4_000_000_000, at - 4);
  return reply;
}

/** Command line and environment of every process, as far as it can be seen. */
async function processes(): Promise<string[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const file = (id: string, name: string) =>
    readFile(`/proc/${id}/${name}`, 'utf8').catch(() => '');
  return Promise.all(
    ids.map(async (id) => `${await file(id, 'cmdline')}\n${await file(id, 'environ')}`),
  );
}

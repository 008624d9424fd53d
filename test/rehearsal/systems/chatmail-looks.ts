import { createHash, randomUUID, X509Certificate } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { ImapFlow } from 'imapflow';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { createTransport } from 'nodemailer';
import { relay, relayUser } from '../../lab/chatmail/relay.ts';
import { identityFile, identityFiles } from '../../lab/identity.ts';
import { network, outside, password } from '../../lab/world.ts';
import type { Sink } from '../sink.ts';
import type { Scene } from './system.ts';

/*
 * What a relay must be after its move, besides mailboxes with their mail. Each function returns a line
 * for each fault.
 */

/** What the manifests of a pass leave to be seen: times of the last logins, accounts, notices, owners. */
export async function movedWhole({ lab }: Scene): Promise<readonly string[]> {
  const list = `cd ${relay.mailboxes} && find . \\( -name password -o -name metadata.json -o -name enforceE2EEincoming \\
    -o -path './pending_notifications/*' \\) -printf '%p %T@ %s %u:%g %m\\n' | sort; cd /etc/dkimkeys && find . -type f -printf '%p %T@ %s %u:%g %m\\n' | sort`;
  const [there, here] = await Promise.all([
    lab.host('old').mustSh(list),
    lab.host('new').mustSh(list),
  ]);
  const missing = there.split('\n').filter((line) => !here.split('\n').includes(line));
  const count = there.split('\n').filter((line) => line.includes('/password ')).length;
  return [
    ...missing.slice(0, 10).map((line) => `not the same on NEW: ${line}`),
    ...(count > 10 ? [] : [`only ${count} accounts were looked at`]),
  ];
}

/** NEW shows OLD's certificate, on the port of IMAP and on 443 by ALPN (RFC 7301). */
export async function sameCertificate(): Promise<readonly string[]> {
  const wanted = new X509Certificate(readFileSync(identityFile(identityFiles.certificate.old)))
    .fingerprint256;
  const faults: string[] = [];
  for (const { port, protocol } of [
    { port: 993, protocol: undefined },
    { port: 443, protocol: 'imap' },
    { port: 443, protocol: 'http/1.1' },
  ]) {
    const socket = connect({
      host: network.new.v4,
      port,
      servername: relay.domain,
      rejectUnauthorized: false,
      ...(protocol === undefined ? {} : { ALPNProtocols: [protocol] }),
    });
    await once(socket, 'secureConnect');
    const shown = socket.getPeerX509Certificate()?.fingerprint256;
    socket.destroy();
    if (shown !== wanted) faults.push(`NEW shows another certificate on ${port} ${protocol ?? ''}`);
  }
  return faults;
}

/** An account is made at the first login, and lets in again. */
export async function newAccountWorks(): Promise<readonly string[]> {
  const user = `${createHash('md5').update(randomUUID()).digest('hex').slice(0, 9)}@${relay.domain}`;
  for (const attempt of ['first', 'second']) {
    const imap = new ImapFlow({
      host: network.new.v4,
      port: 993,
      secure: true,
      servername: relay.domain,
      tls: { rejectUnauthorized: false },
      auth: { user, pass: password },
      logger: false,
    });
    imap.on('error', () => undefined);
    try {
      await imap.connect();
      await imap.logout();
    } catch (error) {
      return [`a new account can't log in, ${attempt} time: ${(error as Error).message}`];
    }
  }
  return [];
}

/** A message that a user hands to NEW comes out with a signature that the key in the DNS verifies. */
export async function newSigns(sink: Sink): Promise<readonly string[]> {
  const messageId = `<${randomUUID()}@${relay.domain}>`;
  const transport = createTransport({
    host: network.new.v4,
    port: 587,
    requireTLS: true,
    tls: { rejectUnauthorized: false, servername: relay.domain },
    auth: { user: relayUser(1), pass: password },
  });
  const to = `friend@${outside.domain}`;
  await transport.sendMail({ messageId, from: relayUser(1), to, subject: 'signed', text: 'hello' });
  const end = Date.now() + 60_000;
  while (!sink.contents.has(messageId)) {
    if (Date.now() > end) return ['what was handed to NEW did not come out within 60 s'];
    await sleep(200);
  }
  const dns = new Resolver();
  dns.setServers([network.resolver.v4]);
  const { results } = await dkimVerify(sink.contents.get(messageId) ?? '', {
    resolver: (name) => dns.resolveTxt(name),
  });
  const [result] = results;
  const isGood =
    results.length === 1 &&
    result?.status.result === 'pass' &&
    result.signingDomain === relay.domain &&
    result.selector === relay.dkimSelector;
  return isGood
    ? []
    : [`the DKIM signature of NEW: ${JSON.stringify(results.map(({ status }) => status))}`];
}

/** Timers run on NEW only, the bar on new accounts is gone, and the revision is noted. */
export async function unitsAsTheyShould(
  { lab }: Scene,
  revision: string,
): Promise<readonly string[]> {
  const active = async (host: 'old' | 'new') => {
    const units = [
      ...['doveauth', 'chatmail-metadata', 'lastlogin', 'dovecot', 'nginx'],
      ...['chatmail-expire.timer', 'chatmail-fsreport.timer', 'acmetool-reconcile.timer'],
    ];
    const { stdout } = await lab
      .host(host)
      .sh('for unit; do if systemctl is-active -q "$unit"; then echo "$unit"; fi; done', units);
    return { units, running: stdout.split('\n').filter(Boolean) };
  };
  const [old, fresh] = await Promise.all([active('old'), active('new')]);
  const version = (await lab.host('new').sh('cat /etc/chatmail-version')).stdout.trim();
  const barred = (await lab.host('new').sh('[ -e /etc/chatmail-nocreate ]')).code === 0;
  return [
    ...old.running.map((unit) => `${unit} still runs on OLD`),
    ...fresh.units
      .filter((unit) => !fresh.running.includes(unit))
      .map((unit) => `${unit} does not run on NEW`),
    ...(version === revision ? [] : [`NEW says it is revision ${version}, not ${revision}`]),
    ...(barred ? ['NEW is still closed to new accounts'] : []),
  ];
}

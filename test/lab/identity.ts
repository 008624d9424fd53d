import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from './lock.ts';
import { cacheFolder } from './paths.ts';
import { mustRun } from './process.ts';
import { domains, mailName } from './world.ts';

/**
 * Keys that stay the same from run to run, made once in the cache: SSH host keys, DKIM keys, the
 * lab's certificate authority and the two hosts' certificates.
 */

export const dkimSelector = 'lab';

/** File names in the identity folder. NEW's own DKIM key is a wrong one: not the one in DNS. */
export const identityFiles = {
  ca: 'ca.pem',
  dkim: { old: 'dkim-old.private', new: 'dkim-new.private' },
  certificate: { old: 'old.pem', new: 'new.pem' },
  certificateKey: { old: 'old.key', new: 'new.key' },
} as const;

export function identityFolder(): string {
  return join(cacheFolder(), 'identity');
}

export function identityFile(name: string): string {
  return join(identityFolder(), name);
}

/** Changes when the keys do; part of the name of everything that was made with them. */
export function identityHash(): string {
  return createHash('sha256')
    .update(readFileSync(identityFile(identityFiles.ca)))
    .update(readFileSync(identityFile(identityFiles.dkim.old)))
    .digest('hex')
    .slice(0, 16);
}

function makeDkimKey(file: string): void {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  writeFileSync(file, privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 });
}

/** What DNS publishes for OLD's DKIM key (RFC 6376 section 3.6.1). */
export function dkimRecord(): string {
  const key = createPublicKey(readFileSync(identityFile(identityFiles.dkim.old)));
  return `v=DKIM1; k=rsa; p=${key.export({ type: 'spki', format: 'der' }).toString('base64')}`;
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

async function makeAuthority(folder: string): Promise<void> {
  const request = ['openssl', 'req', '-x509', ...newKey, '-days', '3650', '-subj', '/CN=Lab CA'];
  const ca = ['-keyout', join(folder, 'ca.key'), '-out', join(folder, identityFiles.ca)];
  await mustRun([...request, ...ca]);
}

async function makeCertificate(folder: string, role: 'old' | 'new'): Promise<void> {
  const names = `subjectAltName=DNS:${mailName},DNS:mail.${domains.local},DNS:mail.${domains.attic}`;
  const authority = ['-CA', join(folder, identityFiles.ca), '-CAkey', join(folder, 'ca.key')];
  await mustRun([
    ...['openssl', 'req', '-x509', ...newKey, ...authority, '-days', '3650'],
    ...['-subj', `/CN=${mailName}`, '-addext', names, '-addext', 'basicConstraints=CA:FALSE'],
    ...['-keyout', join(folder, identityFiles.certificateKey[role])],
    ...['-out', join(folder, identityFiles.certificate[role])],
  ]);
}

async function makeIdentity(folder: string): Promise<void> {
  await makeAuthority(folder);
  for (const role of ['old', 'new'] as const) {
    await makeCertificate(folder, role);
    makeDkimKey(join(folder, identityFiles.dkim[role]));
  }
}

/** Makes the keys if they are not there. */
export async function ensureIdentity(): Promise<void> {
  const folder = identityFolder();
  if (existsSync(folder)) return;
  await withLock(join(cacheFolder(), 'identity.lock'), async () => {
    if (existsSync(folder)) return;
    const part = `${folder}.part`;
    await mustRun(['rm', '-rf', part]);
    mkdirSync(part, { recursive: true, mode: 0o700 });
    await makeIdentity(part);
    renameSync(part, folder);
  });
}

const hostKeyTypes = ['ed25519', 'ecdsa', 'rsa'] as const;

/** The folder with a host's SSH host keys, made on first use. */
export async function ensureHostKeys(host: string): Promise<string> {
  const folder = join(cacheFolder(), 'host-keys', host);
  if (existsSync(folder)) return folder;
  await withLock(join(cacheFolder(), 'host-keys.lock'), async () => {
    if (existsSync(folder)) return;
    const part = `${folder}.part`;
    await mustRun(['rm', '-rf', part]);
    mkdirSync(part, { recursive: true, mode: 0o700 });
    for (const type of hostKeyTypes) {
      const file = join(part, `ssh_host_${type}_key`);
      await mustRun(['ssh-keygen', '-q', '-N', '', '-C', host, '-t', type, '-f', file]);
    }
    renameSync(part, folder);
  });
  return folder;
}

/** Fingerprints of the public host keys in a folder, as `ssh-keygen -lf` prints them. */
export function hostKeyFingerprints(folder: string): string[] {
  return hostKeyTypes.map((type) => {
    const text = readFileSync(join(folder, `ssh_host_${type}_key.pub`), 'utf8');
    const blob = Buffer.from(text.split(' ')[1] ?? '', 'base64');
    return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
  });
}

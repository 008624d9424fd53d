import PostalMime from 'postal-mime';
import { expect, it } from 'vitest';
import { parseServices } from '../postfix-dovecot/postfix.ts';
import { closedRelay, encrypted } from './probe.ts';

it('has the shape that a relay demands of mail', async () => {
  const text = encrypted('u@relay.example', '<1@x>');
  const { from, messageId, attachments } = await PostalMime.parse(text);
  expect({ from: from?.address, messageId }).toEqual({
    from: 'u@relay.example',
    messageId: '<1@x>',
  });
  expect(attachments.map(({ mimeType }) => mimeType)).toEqual([
    'application/pgp-encrypted',
    'application/octet-stream',
  ]);
  const armor = Buffer.from(attachments[1]?.content as ArrayBuffer).toString('latin1');
  const [, base64 = ''] =
    /^-----BEGIN PGP MESSAGE-----\r?\n\r?\n(.*)\r?\n-----END PGP MESSAGE-----\s*$/.exec(armor) ??
    [];
  const packet = Buffer.from(base64, 'base64');
  // Encrypted data, of a length that ends with the message (RFC 9580 section 4.2).
  expect(packet[0]).toBe(0xc0 | 18);
  expect(packet[1]).toBe(packet.length - 2);
  expect(base64).not.toContain('=');
});

it('meets the services of everybody, on the loopback', () => {
  const services = parseServices(
    'smtp       inet  n  -  y  -  -  smtpd -o smtpd_proxy_filter=127.0.0.1:10081\nsubmission inet n - y - 1000 smtpd -o smtpd_sasl_auth_enable=yes\nsmtps inet n - y - - smtpd\n',
  );
  const listeners = closedRelay.listeners({ version: '', parameters: new Map(), services });
  expect([...listeners]).toEqual([
    [
      '127.0.0.1:10127',
      '127.0.0.1:10127       inet  n  -  y  -  -  smtpd -o smtpd_proxy_filter=127.0.0.1:10081',
    ],
    ['127.0.0.1:10128', '127.0.0.1:10128 inet n - y - 1000 smtpd -o smtpd_sasl_auth_enable=yes'],
  ]);
});

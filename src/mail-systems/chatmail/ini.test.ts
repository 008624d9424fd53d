import { describe, expect, it } from 'vitest';
import { differences, parseIni } from './ini.ts';
import { carriedBy, storesOf } from './relay.ts';

const ini = (text: string) => {
  const parsed = parseIni(`[params]\n${text}`);
  if (!parsed) throw new Error('no mail_domain');
  return parsed;
};

describe('chatmail.ini', () => {
  it('is nothing without a mail_domain', () => {
    expect(parseIni('[params]\n# mail_domain = a.example\nmail_domain =\n')).toBeUndefined();
  });

  it('has the defaults of the relay', () => {
    expect(ini('mail_domain = chat.example\n#disable_ipv6 = True\n')).toMatchObject({
      domain: 'chat.example',
      mailboxes: '/home/vmail/mail/chat.example',
      certificates: 'acme',
      certificate: '/var/lib/acme/live/chat.example/fullchain',
      hasIpv6: true,
      hasIroh: true,
      hasMtail: false,
    });
  });

  it.each([
    ['disable_ipv6 = True', { hasIpv6: false }],
    ['iroh_relay = https://iroh.example', { hasIroh: false }],
    ['mtail_address = 127.0.0.1', { hasMtail: true }],
    ['mailboxes_dir = /srv/mail', { mailboxes: '/srv/mail' }],
    [
      'tls_external_cert_and_key = /etc/tls/chain.pem /etc/tls/key.pem',
      { certificates: 'external', certificate: '/etc/tls/chain.pem', key: '/etc/tls/key.pem' },
    ],
  ])('reads %s', (line, expected) => {
    expect(ini(`mail_domain = chat.example\n${line}\n`)).toMatchObject(expected);
  });

  it.each(['_lab.example', '192.0.2.1'])('of %s has a certificate of its own making', (domain) => {
    expect(ini(`mail_domain = ${domain}`).certificates).toBe('self');
  });

  it('is compared by name', () => {
    const one = ini('mail_domain = a.example\nmax_message_size = 1\nimap_compress = true\n');
    const other = ini('mail_domain = a.example\nmax_message_size = 2\n');
    expect(differences(one, other)).toEqual(['imap_compress', 'max_message_size']);
  });
});

describe('what moves', () => {
  it('is the tree that the guide moves, where the mailboxes lie in it', () => {
    expect(storesOf(ini('mail_domain = a.example'))).toEqual(['/home/vmail/mail']);
    expect(storesOf(ini('mail_domain = a.example\nmailboxes_dir = /srv/mail'))).toEqual([
      '/srv/mail',
    ]);
  });

  it.each([
    ['mail_domain = a.example', ['/etc/dkimkeys', '/var/lib/acme']],
    [
      'mail_domain = _a.example',
      ['/etc/dkimkeys', '/etc/ssl/certs/mailserver.pem', '/etc/ssl/private/mailserver.key'],
    ],
    [
      'mail_domain = a.example\ntls_external_cert_and_key = /srv/tls/c /srv/tls/k',
      ['/etc/dkimkeys', '/srv/tls/c', '/srv/tls/k'],
    ],
  ])('besides, with %s', (text, expected) => {
    expect(carriedBy(ini(text))).toEqual(expected);
  });
});

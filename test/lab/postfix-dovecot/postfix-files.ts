import { aliases, domains, mailName, special } from '../world.ts';

/** Postfix as its administrator set it up; the same on OLD and NEW but for the number of `vmail`. */

function localPart(address: string): string {
  return address.slice(0, address.lastIndexOf('@'));
}

function isAt(address: string, domain: string): boolean {
  return address.endsWith(`@${domain}`);
}

export function mainCf(vmailId: number): string {
  return `compatibility_level = 3.6
smtpd_banner = $myhostname ESMTP $mail_name
biff = no
append_dot_mydomain = no
readme_directory = no

myhostname = ${mailName}
myorigin = ${domains.local}
mydestination = ${domains.local}, $myhostname, localhost
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
inet_interfaces = all
inet_protocols = all
recipient_delimiter = +
message_size_limit = 52428800
mailbox_size_limit = 0

# ${domains.virtual}: Dovecot LMTP
virtual_mailbox_domains = ${domains.virtual}, ${domains.attic}
virtual_mailbox_maps = hash:/etc/postfix/vmailbox
virtual_alias_maps = hash:/etc/postfix/virtual
virtual_transport = lmtp:unix:private/dovecot-lmtp

# ${domains.attic}: virtual(8), by its own transport
transport_maps = hash:/etc/postfix/transport
virtual_mailbox_base = /var/vmail
virtual_mailbox_limit = 0
virtual_minimum_uid = 100
virtual_uid_maps = static:${vmailId}
virtual_gid_maps = static:${vmailId}

# ${domains.local}: local(8)
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
mailbox_command = /usr/lib/dovecot/dovecot-lda -f "$SENDER" -a "$RECIPIENT" -d "$USER"

smtpd_tls_cert_file = /etc/ssl/mail/mail.pem
smtpd_tls_key_file = /etc/ssl/mail/mail.key
smtpd_tls_security_level = may
smtp_tls_CApath = /etc/ssl/certs
smtp_tls_security_level = may

smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sasl_auth_enable = yes
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated reject_unauth_destination
smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:12340

smtpd_milters = inet:127.0.0.1:8891
non_smtpd_milters = inet:127.0.0.1:8891
milter_default_action = tempfail
`;
}

function submission(service: string, options: readonly string[]): string {
  const all = [
    `syslog_name=postfix/${service}`,
    ...options,
    'smtpd_tls_auth_only=yes',
    'smtpd_relay_restrictions=permit_sasl_authenticated,reject',
    'smtpd_recipient_restrictions=permit_sasl_authenticated,reject',
    'milter_macro_daemon_name=ORIGINATING',
  ];
  const lines = all.map((option) => `  -o ${option}`).join('\n');
  return `${service} inet n       -       y       -       -       smtpd\n${lines}\n`;
}

/** What is added to Debian's own master.cf. */
export const masterCfAddition = [
  submission('submission', ['smtpd_tls_security_level=encrypt']),
  submission('submissions', ['smtpd_tls_wrappermode=yes']),
].join('');

/** Recipients that have a mailbox of their own, each with its place under /var/vmail. */
export function vmailboxMap(addresses: readonly string[]): string {
  return addresses
    .map(
      (address) => `${address} ${address.slice(address.indexOf('@') + 1)}/${localPart(address)}/\n`,
    )
    .join('');
}

export const transportMap = `${domains.attic} virtual:\n`;

/** virtual(5) */
export const virtualMap = Object.entries(aliases)
  .filter(([address]) => isAt(address, domains.virtual))
  .map(([address, targets]) => `${address} ${targets.join(', ')}\n`)
  .join('');

export const listFile = '/etc/postfix/lists/list';
const listAddress = `list@${domains.local}`;
export const listMembers = `${(aliases[listAddress] ?? []).join('\n')}\n`;

export const pipeProgram = '/usr/local/bin/to-piped';
const pipeAddress = `pipe@${domains.local}`;
export const pipeScript = `#!/bin/sh
exec /usr/sbin/sendmail -i -f "$SENDER" ${special.piped}
`;

function localTarget(alias: string, target: string): string {
  if (target === alias) return `\\${localPart(target)}`;
  return isAt(target, domains.local) ? localPart(target) : target;
}

function aliasTargets(address: string, targets: readonly string[]): string {
  if (address === pipeAddress) return `"|${pipeProgram}"`;
  if (address === listAddress) return `:include:${listFile}`;
  return targets.map((target) => localTarget(address, target)).join(', ');
}

/** aliases(5) */
export const aliasesFile = [
  'postmaster: root\n',
  ...Object.entries(aliases)
    .filter(([address]) => isAt(address, domains.local))
    .map(([address, targets]) => `${localPart(address)}: ${aliasTargets(address, targets)}\n`),
].join('');

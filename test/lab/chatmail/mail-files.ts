import { relay } from './relay.ts';

/*
 * Postfix, Dovecot and OpenDKIM as `cmdeploy` sets them up. Read in chatmail/relay at 1.12,
 * cmdeploy/src/cmdeploy/{postfix,dovecot,opendkim}: services, ports, sockets, transports and plugins
 * are those; limits and what only tunes is left out. Left out too: push notices by Lua, whose plugin
 * the relay has from a package of its own.
 */

const certificate = `/var/lib/acme/live/${relay.domain}/fullchain`;
const key = `/var/lib/acme/live/${relay.domain}/privkey`;

export const mainCf = `compatibility_level = 3.6
myorigin = ${relay.domain}
myhostname = ${relay.domain}
mydestination = ${relay.domain}
local_transport = lmtp:unix:private/dovecot-lmtp
local_recipient_maps =
default_transport = lmtp-filtermail:inet:[127.0.0.1]:10083
lmtp-filtermail_initial_destination_concurrency = 10000
lmtp-filtermail_destination_concurrency_limit = 10000
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
inet_interfaces = all
inet_protocols = all
biff = no
append_dot_mydomain = no
recipient_delimiter = +
message_size_limit = 31457280
mailbox_size_limit = 0
maximal_queue_lifetime = 2d
smtpd_relay_restrictions = reject
smtpd_peername_lookup = no
smtpd_tls_cert_file = ${certificate}
smtpd_tls_key_file = ${key}
smtpd_tls_security_level = may
smtp_tls_CApath = /etc/ssl/certs
smtp_tls_security_level = verify
lmtp_header_checks = regexp:/etc/postfix/lmtp_header_cleanup
disable_mime_input_processing = yes
mua_client_restrictions = permit_sasl_authenticated, reject
mua_sender_restrictions = reject_sender_login_mismatch, permit_sasl_authenticated, reject
smtpd_sender_login_maps = regexp:/etc/postfix/login_map
non_smtpd_milters = unix:opendkim/opendkim.sock
internal_mail_filter_classes = bounce
milter_macro_daemon_name = ORIGINATING
`;

const submission = (name: string, wrapped: boolean) => `${name} inet n - y - 1000 smtpd
  -o syslog_name=postfix/${name}
  -o smtpd_tls_wrappermode=${wrapped ? 'yes' : 'no'}
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_mandatory_protocols=>=TLSv1.3
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_type=dovecot
  -o smtpd_sasl_path=private/auth
  -o smtpd_tls_auth_only=yes
  -o smtpd_reject_unlisted_recipient=no
  -o smtpd_client_restrictions=$mua_client_restrictions
  -o smtpd_sender_restrictions=$mua_sender_restrictions
  -o smtpd_recipient_restrictions=
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o smtpd_proxy_filter=127.0.0.1:10080
`;

export const masterCf = `smtp inet n - y - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_proxy_filter=127.0.0.1:10081
  -o smtpd_relay_restrictions=reject_unauth_destination
${submission('submission', false)}${submission('smtps', true)}pickup unix n - y 60 1 pickup
cleanup unix n - y - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - y 1000? 1 tlsmgr
rewrite unix - - y - - trivial-rewrite
bounce unix - - y - 0 bounce
defer unix - - y - 0 bounce
trace unix - - y - 0 bounce
verify unix - - y - 1 verify
flush unix n - y 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - y - - smtp
relay unix - - y - - smtp -o syslog_name=postfix/$service_name
showq unix n - y - - showq
error unix - - y - - error
retry unix - - y - - error
discard unix - - y - - discard
lmtp unix - - y - - lmtp
anvil unix - - y - 1 anvil
scache unix - - y - 1 scache
postlog unix-dgram n - n - 1 postlogd
127.0.0.1:10025 inet n - n - 100 smtpd
  -o syslog_name=postfix/reinject
  -o milter_macro_daemon_name=ORIGINATING
  -o cleanup_service_name=authclean
  -o smtpd_relay_restrictions=permit_mynetworks,reject
  -o smtpd_milters=unix:opendkim/opendkim.sock
127.0.0.1:10026 inet n - n - 100 smtpd
  -o syslog_name=postfix/reinject_incoming
  -o smtpd_relay_restrictions=reject_unauth_destination
authclean unix n - - - 0 cleanup
  -o header_checks=regexp:/etc/postfix/submission_header_cleanup
lmtp-filtermail unix - - y - 500 lmtp
  -o syslog_name=postfix/lmtp-filtermail
  -o lmtp_header_checks=
  -o lmtp_tls_security_level=none
`;

export const postfixTables = {
  'etc/postfix/login_map': `/^(.*)$/ \${1}\n`,
  'etc/postfix/submission_header_cleanup': `/^Received:/ IGNORE\n/^Subject:/ REPLACE Subject: [...]\n`,
  'etc/postfix/lmtp_header_cleanup': `/^DKIM-Signature:/ IGNORE\n/^Authentication-Results:/ IGNORE\n/^Received:/ IGNORE\n`,
  'etc/aliases': 'postmaster: root\n',
} as const;

export const dovecotConf = `protocols = imap lmtp
auth_mechanisms = plain
auth_username_chars = abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@[]
mail_plugins = zlib quota
imap_capability = +XDELTAPUSH XCHATMAIL
passdb {
  driver = dict
  args = /etc/dovecot/auth.conf
}
userdb {
  driver = dict
  args = /etc/dovecot/auth.conf
}
mail_location = maildir:${relay.mailboxes}/%u
mail_cache_max_size = 500K
mail_max_userip_connections = 500
namespace inbox {
  inbox = yes
}
mail_uid = vmail
mail_gid = vmail
mail_privileged_group = vmail
mail_attribute_dict = proxy:/run/chatmail-metadata/metadata.socket:metadata
protocol imap {
  mail_plugins = $mail_plugins imap_quota last_login
  imap_metadata = yes
}
protocol lmtp {
  mail_fsync = never
}
plugin {
  last_login_dict = proxy:/run/chatmail-lastlogin/lastlogin.socket:lastlogin
  last_login_precision = s
  zlib_save = gz
  quota = maildir:User quota
  quota_grace = 0
  quota_rule = *:storage=500M
}
service lmtp {
  user = vmail
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
    group = postfix
  }
}
lmtp_add_received_header = no
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
service auth-worker {
  user = vmail
}
service imap-login {
  service_count = 0
}
ssl = required
ssl_cert = <${certificate}
ssl_key = <${key}
ssl_min_protocol = TLSv1.3
`;

export const dovecotAuth = `uri = proxy:/run/doveauth/doveauth.socket:auth
iterate_disable = no
iterate_prefix = userdb/
default_pass_scheme = plain
password_key = passdb/%Ew"%Eu
user_key = userdb/%Eu
`;

export const opendkimFiles = {
  'etc/opendkim.conf': `Syslog yes
Canonicalization relaxed/simple
OversignHeaders From
Domain ${relay.domain}
Selector ${relay.dkimSelector}
KeyFile /etc/dkimkeys/${relay.dkimSelector}.private
KeyTable /etc/dkimkeys/KeyTable
SigningTable refile:/etc/dkimkeys/SigningTable
SignHeaders *,+autocrypt,+content-type
UserID opendkim
UMask 007
Socket local:/var/spool/postfix/opendkim/opendkim.sock
PidFile /run/opendkim/opendkim.pid
MTA ORIGINATING
InternalHosts -
`,
  'etc/dkimkeys/KeyTable': `${relay.dkimSelector}._domainkey.${relay.domain} ${relay.domain}:${relay.dkimSelector}:/etc/dkimkeys/${relay.dkimSelector}.private\n`,
  'etc/dkimkeys/SigningTable': `*@${relay.domain} ${relay.dkimSelector}._domainkey.${relay.domain}\n`,
} as const;

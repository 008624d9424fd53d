import { domains, special } from '../world.ts';

/** Dovecot 2.3 as its administrator set it up: one file, the same on OLD and NEW. */

export const usersFile = '/etc/dovecot/users';

/** Indexes of system users lie apart from their Maildirs, so that a move must follow two paths. */
export const indexFolder = '/var/lib/dovecot-index';

export const dovecotConf = `protocols = imap pop3 lmtp sieve
listen = *, ::
ssl = yes
ssl_cert = </etc/ssl/mail/mail.pem
ssl_key = </etc/ssl/mail/mail.key
ssl_min_protocol = TLSv1.2

mail_location = maildir:/var/vmail/%d/%n/Maildir
mail_plugins = quota
mail_max_userip_connections = 500
first_valid_uid = 500
last_valid_uid = 60000

namespace inbox {
  inbox = yes
  mailbox Drafts {
    special_use = \\Drafts
  }
  mailbox Junk {
    special_use = \\Junk
  }
  mailbox Sent {
    special_use = \\Sent
  }
  mailbox Trash {
    special_use = \\Trash
  }
}

auth_mechanisms = plain login
auth_username_format = %Lu

# System users may log in by their address as well.
passdb {
  driver = static
  username_filter = *@${domains.local}
  args = user=%Ln noauthenticate
}
passdb {
  driver = passwd-file
  args = username_format=%u ${usersFile}
}
passdb {
  driver = pam
  username_filter = !*@*
}
userdb {
  driver = passwd-file
  args = username_format=%u ${usersFile}
  default_fields = uid=vmail gid=vmail home=/var/vmail/%d/%n
}
userdb {
  driver = passwd
  override_fields = mail=maildir:~/Maildir:INDEX=${indexFolder}/%u
}

service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
    group = postfix
  }
}
service quota-status {
  executable = quota-status -p postfix
  inet_listener {
    address = 127.0.0.1
    port = 12340
  }
  client_limit = 1
}

protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
protocol lmtp {
  mail_plugins = $mail_plugins sieve
}
protocol lda {
  mail_plugins = $mail_plugins sieve
}

plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1G
  quota_status_success = DUNNO
  quota_status_nouser = DUNNO
  quota_status_overquota = "552 5.2.2 Mailbox is full"
  sieve = file:~/sieve;active=~/.dovecot.sieve
}
`;

function extraFields(address: string): string {
  // Each twice: as 2.3 names it, and as 2.4 does.
  if (address === special.full)
    return 'userdb_quota_rule=*:storage=10K userdb_quota_storage_size=10K';
  const [name, domain] = address.split('@');
  if (domain !== domains.attic) return '';
  const folder = `/var/vmail/${domain}/${name}`;
  return `userdb_mail=maildir:${folder} userdb_mail_path=${folder}`;
}

/** passwd-file: user, password hash, uid, gid, gecos, home, shell, extra fields. */
export function passwdFile(addresses: readonly string[], passwordHash: string): string {
  return addresses
    .map((address) => `${address}:{SHA512-CRYPT}${passwordHash}::::::${extraFields(address)}\n`)
    .join('');
}

export const sieveScript = `require ["fileinto", "mailbox"];
if header :contains "subject" "file me" {
  fileinto :create "Filed";
}
`;

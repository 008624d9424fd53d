import { domains } from '../world.ts';
import { indexFolder, usersFile } from './dovecot-files.ts';

/**
 * What `dovecotConf` says, in the words of Dovecot 2.4, as the administrator of a NEW with a later Debian
 * has to write it (doc.dovecot.org, "Upgrading Dovecot CE from 2.3 to 2.4").
 */
export const dovecotConf24 = `dovecot_config_version = 2.4.1
dovecot_storage_version = 2.3.19
protocols = imap pop3 lmtp sieve
listen = *, ::
ssl = yes
ssl_server_cert_file = /etc/ssl/mail/mail.pem
ssl_server_key_file = /etc/ssl/mail/mail.key
ssl_min_protocol = TLSv1.2

mail_driver = maildir
mail_path = /var/vmail/%{user | domain}/%{user | username}/Maildir
mail_plugins = quota
mail_max_userip_connections = 500
first_valid_uid = 500
last_valid_uid = 60000

namespace inbox {
  inbox = yes
  mailbox Drafts {
    special_use = \\Drafts
  }
}
auth_mechanisms = plain login
auth_username_format = %{user | lower}
passdb alias {
  driver = static
  username_filter = *@${domains.local}
  fields {
    user = %{user | username | lower}
    noauthenticate = yes
  }
}
passdb passwd-file {
  passwd_file_path = ${usersFile}
}
passdb pam {
  username_filter = !*@*
}
userdb passwd-file {
  passwd_file_path = ${usersFile}
  fields {
    uid:default = vmail
    gid:default = vmail
    home:default = /var/vmail/%{user | domain}/%{user | username}
  }
}
userdb passwd {
  fields {
    mail_path = ~/Maildir
    mail_index_path = ${indexFolder}/%{user}
  }
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
  inet_listener quota {
    listen = 127.0.0.1
    port = 12340
  }
  client_limit = 1
}
quota_status_success = DUNNO
quota_status_nouser = DUNNO
quota_status_overquota = 552 5.2.2 Mailbox is full
quota "User quota" {
  quota_driver = maildir
  storage_size = 1G
}
protocol imap {
  mail_plugins {
    imap_quota = yes
  }
}
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
sieve_script personal {
  path = ~/sieve
  active_path = ~/.dovecot.sieve
}
`;

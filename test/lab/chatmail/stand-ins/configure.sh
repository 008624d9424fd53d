# On the host: what `configure` of cmdeploy does besides putting files. $1 the mail domain.
set -eu
install -d -m 700 -o vmail -g vmail /home/vmail /home/vmail/mail "/home/vmail/mail/$1"
install -d -m 750 -o opendkim -g opendkim /var/spool/postfix/opendkim /etc/opendkim
if [ ! -e /etc/dkimkeys/opendkim.private ]; then
  opendkim-genkey -D /etc/dkimkeys -d "$1" -s opendkim
fi
chown -R opendkim:opendkim /etc/dkimkeys
chmod 600 /etc/dkimkeys/opendkim.private
newaliases
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  dovecotAuth,
  dovecotConf,
  mainCf,
  masterCf,
  opendkimFiles,
  postfixTables,
} from './mail-files.ts';
import { relay } from './relay.ts';

/*
 * Every file that a relay's host gets from `cmdeploy`: what its stage `install` downloads (here
 * stand-ins) and what `configure` writes. Read in chatmail/relay at 1.12, cmdeploy/src/cmdeploy.
 */

/** Mode of a file that is not 644. */
export interface RelayFile {
  readonly text: string;
  readonly mode?: number;
}

const standIns = join(import.meta.dirname, 'stand-ins');
const program = (name: string): RelayFile => ({
  text: readFileSync(join(standIns, name), 'utf8'),
  mode: 0o755,
});

/** Programs that the real one downloads or builds. */
export function installedFiles(): Readonly<Record<string, RelayFile>> {
  const chatmaild = [
    'doveauth',
    'chatmail-metadata',
    'lastlogin',
    'chatmail-expire',
    'chatmail-fsreport',
    'chatmail-quota-expire',
  ];
  return {
    ...Object.fromEntries(
      chatmaild.map((name) => [`${relay.venv.slice(1)}/${name}`, program('chatmaild')]),
    ),
    'usr/local/bin/filtermail': program('filtermail'),
    'usr/local/bin/chatmail-turn': program('idle'),
    'usr/local/bin/iroh-relay': program('idle'),
    'usr/bin/acmetool': program('acmetool'),
  };
}

const service = (description: string, start: string, more = '', wanted = 'multi-user.target') =>
  `[Unit]\nDescription=${description}\n\n[Service]\nExecStart=${start}\n${more}\n[Install]\nWantedBy=${wanted}\n`;

const restarting = (seconds: number, user = 'vmail') =>
  `Restart=always\nRestartSec=${seconds}\nUser=${user}\n`;

const proxy = (name: string, folder: string, socket: string, seconds: number) =>
  service(
    `${name} of the relay`,
    `${relay.venv}/${name} /run/${folder}/${socket} ${relay.ini}`,
    `${restarting(seconds)}RuntimeDirectory=${folder}\nUMask=0077\n`,
  );

const filter = (mode: string) =>
  service(`filtermail, ${mode}`, `/usr/local/bin/filtermail ${relay.ini} ${mode}`, restarting(30));

const timer = (description: string, calendar: string, more = '') =>
  `[Unit]\nDescription=${description}\n\n[Timer]\nOnCalendar=${calendar}\n${more}\n[Install]\nWantedBy=timers.target\n`;

const once = (start: string, user: string) =>
  `[Unit]\nDescription=${start}\n\n[Service]\nType=oneshot\nUser=${user}\nExecStart=${start}\n`;

/** cmdeploy/src/cmdeploy/{service,filtermail,acmetool}: names, users, sockets and times are those. */
const units: Readonly<Record<string, string>> = {
  'doveauth.service': proxy('doveauth', 'doveauth', 'doveauth.socket', 30),
  'chatmail-metadata.service': proxy(
    'chatmail-metadata',
    'chatmail-metadata',
    'metadata.socket',
    5,
  ),
  'lastlogin.service': proxy('lastlogin', 'chatmail-lastlogin', 'lastlogin.socket', 30),
  'chatmail-expire.service': once(
    `${relay.venv}/chatmail-expire ${relay.ini} -v --remove`,
    'vmail',
  ),
  'chatmail-expire.timer': timer('daily expiry', '*-*-* 00:02:00'),
  'chatmail-fsreport.service': once(`${relay.venv}/chatmail-fsreport ${relay.ini}`, 'vmail'),
  'chatmail-fsreport.timer': timer('daily report', '*-*-* 08:02:00', 'Persistent=true\n'),
  'filtermail.service': filter('outgoing'),
  'filtermail-incoming.service': filter('incoming'),
  'filtermail-transport.service': filter('transport'),
  'turnserver.service': service('TURN', '/usr/local/bin/chatmail-turn', restarting(1)),
  'iroh-relay.service': service('iroh relay', '/usr/local/bin/iroh-relay', restarting(5, 'iroh')),
  'acmetool-redirector.service': service(
    'acmetool HTTP redirector',
    '/usr/bin/acmetool redirector --service.uid=daemon --bind=127.0.0.1:402',
    'Type=notify\nNotifyAccess=all\nRestart=always\nRestartSec=30\n',
  ),
  'acmetool-reconcile.service': once('/usr/bin/acmetool --batch reconcile', 'root'),
  'acmetool-reconcile.timer': timer('renewal of certificates', '*-*-* 16:20:00'),
};

/** cmdeploy/src/cmdeploy/nginx/nginx.conf.j2: 443 is parted by ALPN (RFC 7301). */
const nginxConf = `load_module modules/ngx_stream_module.so;
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log syslog:server=unix:/dev/log,facility=local3;
events {
  worker_connections 2048;
}
stream {
  map $ssl_preread_alpn_protocols $proxy {
    default 127.0.0.1:8443;
    ~\\bsmtp\\b 127.0.0.1:465;
    ~\\bimap\\b 127.0.0.1:993;
  }
  server {
    listen 443;
    listen [::]:443;
    proxy_pass $proxy;
    ssl_preread on;
  }
}
http {
  access_log syslog:server=unix:/dev/log,facility=local7;
  default_type text/plain;
  ssl_certificate /var/lib/acme/live/${relay.domain}/fullchain;
  ssl_certificate_key /var/lib/acme/live/${relay.domain}/privkey;
  server {
    listen 127.0.0.1:8443 ssl default_server;
    root /var/www/html;
    server_name ${relay.domain} mta-sts.${relay.domain};
    location /mxdeliv {
      proxy_pass http://127.0.0.1:10082;
    }
    location /new {
      fastcgi_pass unix:/run/fcgiwrap.socket;
    }
  }
  server {
    listen 80;
    listen [::]:80;
    return 301 https://$host$request_uri;
  }
}
`;

/** The relay's own settings. Nothing of the lab expires: its mail bears dates of long ago. */
export const chatmailIni = `[params]
mail_domain = ${relay.domain}
delete_mails_after = 36500
delete_large_after = 36500
delete_inactive_users_after = 36500
privacy_mail = privacy@${relay.domain}
`;

export function configuredFiles(): Readonly<Record<string, RelayFile>> {
  const text: Record<string, string> = {
    'etc/mailname': `${relay.domain}\n`,
    'etc/postfix/main.cf': mainCf,
    'etc/postfix/master.cf': masterCf,
    ...postfixTables,
    'etc/dovecot/dovecot.conf': dovecotConf,
    'etc/dovecot/auth.conf': dovecotAuth,
    ...opendkimFiles,
    'etc/nginx/nginx.conf': nginxConf,
    'etc/unbound/unbound.conf.d/chatmail.conf': 'server:\n  cache-max-negative-ttl: 0\n',
    'var/www/html/.well-known/mta-sts.txt': `version: STSv1\nmode: enforce\nmx: ${relay.domain}\nmax_age: 2419200\n`,
    [relay.ini.slice(1)]: chatmailIni,
    [`var/lib/acme/desired/${relay.domain}`]: `satisfy:\n  names:\n    - ${relay.domain}\n    - mta-sts.${relay.domain}\n    - www.${relay.domain}\n`,
    'var/lib/acme/conf/target':
      'request:\n  provider: https://acme-v02.api.letsencrypt.org/directory\n',
    'etc/systemd/system/postfix@.service.d/10_restart.conf':
      '[Service]\nRestart=always\nRestartSec=30\n',
    'etc/systemd/system/dovecot.service.d/10_restart.conf':
      '[Service]\nRestart=always\nRestartSec=30\n',
    'etc/systemd/system/opendkim.service.d/10-prevent-memory-leak.conf':
      '[Service]\nRestart=always\nRuntimeMaxSec=1d\n',
    ...Object.fromEntries(
      Object.entries(units).map(([name, unit]) => [`etc/systemd/system/${name}`, unit]),
    ),
  };
  return Object.fromEntries(Object.entries(text).map(([path, each]) => [path, { text: each }]));
}

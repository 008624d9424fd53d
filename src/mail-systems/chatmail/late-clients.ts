import { isIPv6 } from 'node:net';
import type { Step } from '../../engine/step.ts';
import { script } from '../../hosts/command.ts';
import { called, type MailContext } from '../mail-system.ts';
import { runningUnits } from '../postfix-dovecot/freeze.ts';
import { demandRelay } from './relay.ts';

/** Of a client's ports all but 25, which the source's own Postfix serves: no proxy would keep the sender's address. */
const ports = [80, 143, 443, 465, 587, 993] as const;

const group = 'freeze';

/**
 * Clients with an old answer of the DNS go on through the source to the target, so nobody waits for
 * the DNS. Whole TLS streams: the target has the same certificate. nginx is there with its stream
 * module, because the relay parts its 443 with it; here it runs as a unit of ours, under a
 * configuration of ours, while the relay's own is stopped.
 */
export function lateClientSteps(context: MailContext): readonly Step[] {
  if (context.migration.chatmail?.['late-clients'] === 'refuse') return [];
  const { source, target } = context;
  const unit = `mail-cutover-${context.migration.name}-clients.service`;
  const configuration = `/etc/nginx/mail-cutover-${context.migration.name}.conf`;
  return [
    {
      id: 'late-clients',
      title: `Carry clients that still come to ${called(source)} on to ${called(target)}`,
      done: async () =>
        (await runningUnits(source, [unit])) !== '' &&
        (
          await source.read(
            script('grep -qF -- "$1" "$2"', [upstream(target.address, 443), configuration], {
              allow: [0, 1, 2],
              purpose: 'look where clients are carried to',
            }),
          )
        ).code === 0,
      do: async () => {
        const { ini } = await demandRelay(source);
        const text = nginxConf(context.migration.name, target.address, ini.hasIpv6);
        const file = (id: string, path: string, stdin: string) =>
          source.edit('file', [group, id, path, '644', 'root:root'], {
            stdin,
            purpose: `write ${path}`,
          });
        await file('clients-conf', configuration, text);
        await file('clients-unit', `/etc/systemd/system/${unit}`, unitText(configuration));
        await source.edit('stop', [group, 'stop-web', 'nginx.service'], { purpose: 'stop nginx' });
        await source.edit('serve', [group, 'clients', unit], { purpose: 'carry clients on' });
        return `ports ${ports.join(', ')}; ${called(target)} sees the address of ${called(source)}`;
      },
    },
  ];
}

function upstream(address: string, port: number): string {
  return `${isIPv6(address) ? `[${address}]` : address}:${port}`;
}

/** ngx_stream_proxy_module. An idle IMAP client is quiet for up to 29 minutes (RFC 2177). */
function nginxConf(name: string, address: string, hasIpv6: boolean): string {
  const servers = ports.map((port) => {
    const listen = [`listen ${port};`, ...(hasIpv6 ? [`listen [::]:${port};`] : [])];
    return `  server {\n    ${listen.join('\n    ')}\n    proxy_pass ${upstream(address, port)};\n  }\n`;
  });
  return `# mail-cutover ${name}: clients that still come here go on to the host that serves them.
load_module modules/ngx_stream_module.so;
user www-data;
worker_processes auto;
worker_rlimit_nofile 65536;
pid /run/mail-cutover-${name}-clients.pid;
error_log syslog:server=unix:/dev/log;
events {
  worker_connections 20000;
}
stream {
  proxy_connect_timeout 10s;
  proxy_timeout 35m;
${servers.join('')}}
`;
}

function unitText(configuration: string): string {
  return `[Unit]
Description=mail-cutover: carries late clients to the other host
After=network-online.target

[Service]
ExecStart=/usr/sbin/nginx -c ${configuration} -g 'daemon off;'
Restart=on-failure
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`;
}

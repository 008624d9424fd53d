import type { ExtraLayer } from '../extra-layer.ts';

/** What a relay has besides Postfix, Dovecot and OpenDKIM. Its own programs no registry has. */
export const chatmailLayer: ExtraLayer = {
  name: 'chatmail',
  packages: ['nginx', 'libnginx-mod-stream', 'fcgiwrap', 'python3'],
  finish: 'systemctl disable -q nginx.service fcgiwrap.socket fcgiwrap.service',
};

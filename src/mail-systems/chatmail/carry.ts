import type { Step } from '../../engine/step.ts';
import { called, freezeGroup as group, type MailContext } from '../mail-system.ts';
import { carried, carriedPorts, carrySteps } from '../postfix-dovecot/carry.ts';
import { runningUnits } from '../postfix-dovecot/fence.ts';
import { web } from './units.ts';

/**
 * As everywhere; but the relay's web server, which parts 443 by ALPN (RFC 7301), gives its ports up
 * first. Whole TLS streams go on, and NEW has the same certificate.
 */
export function carryRelay(context: MailContext): readonly Step[] {
  const { source } = context;
  const isWeb = carried.web.some((port) => carriedPorts(context).includes(port));
  return [...(isWeb ? [stopWeb()] : []), ...carrySteps(context)];

  function stopWeb(): Step {
    return {
      id: 'stop-web',
      title: `Stop nginx on ${called(source)}, whose ports are carried`,
      done: async () => (await runningUnits(source, web)) === '',
      do: async () => {
        const words = web.flatMap((unit) => [`stop-${unit}`, unit]);
        await source.edit('stop', [group, ...words], { purpose: 'stop nginx' });
        return undefined;
      },
    };
  }
}

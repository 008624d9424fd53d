import type { Step } from '../../engine/step.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { called, type MailContext } from '../mail-system.ts';
import { readDovecot } from './dovecot.ts';
import { latePort, names } from './names.ts';
import { readPostfix } from './postfix.ts';
import { effective, option, publicServices, splitQuota } from './public-service.ts';

const group = 'door';

/**
 * The target's own doors for late mail: listeners that only the source can use, known by its
 * certificate. What waited in the source's queue comes by the first: the source has done all that is
 * done once (address mappings, recipient checks, milters, greylisting, SPF), so this door does none of
 * it again, and an alias that names itself and another expands once. What the source accepts later
 * comes by the second, which judges recipients and maps addresses, because the source does no longer.
 */
export function doorSteps(context: MailContext): readonly Step[] {
  const { old, new: fresh, target, migration } = context;
  return [
    {
      id: 'certificates',
      title: 'Make the certificates by which OLD and NEW know each other',
      done: async () =>
        (await fingerprint(old, context)) !== '' && (await fingerprint(fresh, context)) !== '',
      do: async () => {
        await Promise.all([makeCertificate(old, context), makeCertificate(fresh, context)]);
        return undefined;
      },
    },
    {
      id: 'door',
      title: `Set up the doors for late mail on ${called(target)}, ports ${migration['late-mail'].port} and ${latePort(migration)}`,
      done: () => doorStands(context),
      do: () => buildDoor(context),
      undo: async () => {
        await target.edit('undo', [group]);
      },
    },
  ];
}

/** SHA-256 of the certificate in DER, colon-separated; empty where there is none yet. */
export async function fingerprint(host: MailHost, context: MailContext): Promise<string> {
  const result = await host.read(
    script(
      '[ -e "$1" ] || exit 44; openssl x509 -in "$1" -noout -fingerprint -sha256',
      [names(context.migration).certificate],
      { allow: [0, 44], purpose: 'read the certificate for late mail' },
    ),
  );
  return result.stdout.toString('utf8').trim().replace(/^.*=/, '');
}

async function makeCertificate(host: MailHost, context: MailContext): Promise<void> {
  await host.change(
    script(
      `[ ! -e "$1" ] || exit 0
       umask 077
       openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \\
         -subj "/CN=mail-cutover $2 $3" -keyout "$1.key.$$" -out "$1.crt.$$" 2>/dev/null
       cat "$1.key.$$" "$1.crt.$$" > "$1.new.$$"
       rm -f "$1.key.$$" "$1.crt.$$"
       mv -f "$1.new.$$" "$1"`,
      [names(context.migration).certificate, context.migration.name, host.role],
      { purpose: 'make the certificate for late mail' },
    ),
  );
}

async function doorStands(context: MailContext): Promise<boolean> {
  const { clients, door, lateDoor } = names(context.migration);
  const result = await context.target.read(
    script(
      `[ -e "$1" ] && grep -qF -- "$2" "$1" || exit 1
       for door in "$3" "$4"; do [ -n "$(postconf -M "$door" 2>/dev/null)" ] || exit 1; done`,
      [clients, await fingerprint(context.source, context), door, lateDoor],
      { allow: [0, 1], purpose: 'look at the door' },
    ),
  );
  return result.code === 0;
}

async function buildDoor(context: MailContext): Promise<string> {
  const { source, target, migration } = context;
  const { clients, door, lateDoor } = names(migration);
  const allowed = await fingerprint(source, context);
  await target.edit('file', [group, 'clients', clients, '644', 'root:root'], {
    stdin: `${allowed} ${source.role}\n`,
    purpose: `admit ${called(source)} at the door`,
  });
  await target.edit('master', [group, 'door', door, doorEntry(context)], {
    purpose: 'set up the door',
  });
  await target.edit('master', [group, 'late-door', lateDoor, await lateDoorEntry(context)], {
    purpose: 'set up the second door',
  });
  // A target that is fenced reads master.cf when it starts.
  await target.edit('reload', [], { purpose: 'reload Postfix' });
  return `only the certificate ${allowed.slice(0, 23)}… may use it`;
}

/** smtpd(8), for one client, without anything that OLD has done already. */
function doorEntry(context: MailContext): string {
  return doorService(
    context,
    context.migration['late-mail'].port,
    [
      'smtpd_recipient_restrictions=permit_tls_clientcerts,reject',
      'smtpd_proxy_filter=',
      'content_filter=',
      'receive_override_options=no_address_mappings,no_unknown_recipient_checks,no_header_body_checks,no_milters',
    ].map((word) => `-o ${word}`),
  );
}

/**
 * The same, but it judges recipients as the target's own port 25 does, its quota included, and maps
 * addresses. Filters run here, because the source skips its own; milters ran there. What is refused
 * for another reason than the recipient is refused for now, so that a fault of this door never
 * makes the source turn mail away for good.
 */
async function lateDoorEntry(context: MailContext): Promise<string> {
  const [postfix, dovecot] = await Promise.all([
    readPostfix(context.target),
    readDovecot(context.target),
  ]);
  const open = postfix && publicServices(postfix)[0];
  const own = (parameter: string) => (open ? effective(open, postfix, parameter) : '');
  const { quota } = splitQuota(own('smtpd_recipient_restrictions'), dovecot);
  const judges = ['reject_unlisted_recipient', ...quota, 'permit_tls_clientcerts', 'reject'];
  return doorService(context, latePort(context.migration), [
    option('smtpd_recipient_restrictions', judges.join(', ')),
    '-o smtpd_reject_unlisted_recipient=yes',
    '-o reject_code=450',
    option('smtpd_proxy_filter', own('smtpd_proxy_filter')),
    option('content_filter', own('content_filter')),
    '-o receive_override_options=no_header_body_checks,no_milters',
  ]);
}

function doorService(context: MailContext, port: number, own: readonly string[]): string {
  const { clients, certificate } = names(context.migration);
  const common = [
    'syslog_name=postfix/late',
    'smtpd_tls_security_level=encrypt',
    'smtpd_tls_wrappermode=no',
    `smtpd_tls_cert_file=${certificate}`,
    `smtpd_tls_key_file=${certificate}`,
    'smtpd_tls_eccert_file=',
    'smtpd_tls_dcert_file=',
    'smtpd_tls_chain_files=',
    'smtpd_tls_ask_ccert=yes',
    'smtpd_tls_fingerprint_digest=sha256',
    `relay_clientcerts=texthash:${clients}`,
    'smtpd_client_restrictions=permit_tls_clientcerts,reject',
    'smtpd_relay_restrictions=permit_tls_clientcerts,reject',
    'smtpd_helo_restrictions=',
    'smtpd_helo_required=no',
    'smtpd_sender_restrictions=',
    'smtpd_data_restrictions=',
    'smtpd_end_of_data_restrictions=',
    'smtpd_sasl_auth_enable=no',
    'smtpd_milters=',
    'smtpd_client_connection_rate_limit=0',
    'smtpd_client_connection_count_limit=0',
    'smtpd_client_message_rate_limit=0',
    'smtpd_client_recipient_rate_limit=0',
    'smtpd_recipient_limit=100000',
  ].map((word) => `-o ${word}`);
  return `${port} inet n - y - - smtpd ${[...common, ...own].join(' ')}`;
}

/**
 * smtp(8) on the source, to a door and nowhere else; overrides whatever it does for other mail. What a
 * door refuses stays in the queue: a host that has given service away bounces nothing (soft_bounce).
 */
export function transportEntry(
  context: MailContext,
  transport: string,
  doorFingerprint: string,
): string {
  const { certificate } = names(context.migration);
  const options = [
    'syslog_name=postfix/late',
    'smtp_tls_security_level=fingerprint',
    'smtp_tls_policy_maps=',
    'smtp_tls_fingerprint_digest=sha256',
    `smtp_tls_fingerprint_cert_match=${doorFingerprint}`,
    `smtp_tls_cert_file=${certificate}`,
    `smtp_tls_key_file=${certificate}`,
    'smtp_tls_eccert_file=',
    'smtp_tls_chain_files=',
    'smtp_tls_wrappermode=no',
    'smtp_fallback_relay=',
    'smtp_sasl_auth_enable=no',
    'smtp_generic_maps=',
    'smtp_header_checks=',
    'smtp_mime_header_checks=',
    'smtp_nested_header_checks=',
    'smtp_body_checks=',
    'smtp_reply_filter=',
    'smtp_delivery_status_filter=',
    'smtp_bind_address=',
    'smtp_bind_address6=',
    'smtp_address_verify_target=rcpt',
    'soft_bounce=yes',
  ];
  return `${transport} unix - - y - - smtp ${options.map((option) => `-o ${option}`).join(' ')}`;
}

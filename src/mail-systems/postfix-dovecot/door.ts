import type { Step } from '../../engine/step.ts';
import { script } from '../../hosts/command.ts';
import type { MailHost } from '../../hosts/mail-host.ts';
import { called, type MailContext } from '../mail-system.ts';
import { names } from './names.ts';

const group = 'door';

/**
 * The target's own door for late mail: a listener that only the source can use, known by its
 * certificate. The source has done all that is done once (address mappings, recipient checks,
 * milters, greylisting, SPF), so the door does none of it again: an alias that names itself and
 * another expands once.
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
      title: `Set up the door for late mail on ${called(target)}, port ${migration['late-mail'].port}`,
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
  const { clients, door } = names(context.migration);
  const result = await context.target.read(
    script(
      '[ -e "$1" ] && grep -qF -- "$2" "$1" && [ -n "$(postconf -M "$3" 2>/dev/null)" ] || exit 1',
      [clients, await fingerprint(context.source, context), door],
      { allow: [0, 1], purpose: 'look at the door' },
    ),
  );
  return result.code === 0;
}

async function buildDoor(context: MailContext): Promise<string> {
  const { source, target, migration } = context;
  const { clients, door } = names(migration);
  const allowed = await fingerprint(source, context);
  await target.edit('file', [group, 'clients', clients, '644', 'root:root'], {
    stdin: `${allowed} ${source.role}\n`,
    purpose: `admit ${called(source)} at the door`,
  });
  await target.edit('master', [group, 'door', door, doorEntry(context)], {
    purpose: 'set up the door',
  });
  // A target that is fenced reads master.cf when it starts.
  await target.edit('reload', [], { purpose: 'reload Postfix' });
  return `only the certificate ${allowed.slice(0, 23)}… may use it`;
}

/** smtpd(8), for one client, without anything that OLD has done already. */
function doorEntry(context: MailContext): string {
  const { clients, certificate } = names(context.migration);
  const options = [
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
    'smtpd_recipient_restrictions=permit_tls_clientcerts,reject',
    'smtpd_helo_restrictions=',
    'smtpd_helo_required=no',
    'smtpd_sender_restrictions=',
    'smtpd_data_restrictions=',
    'smtpd_end_of_data_restrictions=',
    'smtpd_sasl_auth_enable=no',
    'smtpd_proxy_filter=',
    'smtpd_milters=',
    'content_filter=',
    'smtpd_client_connection_rate_limit=0',
    'smtpd_client_connection_count_limit=0',
    'smtpd_client_message_rate_limit=0',
    'smtpd_client_recipient_rate_limit=0',
    'smtpd_recipient_limit=100000',
    'receive_override_options=no_address_mappings,no_unknown_recipient_checks,no_header_body_checks,no_milters',
  ];
  const port = context.migration['late-mail'].port;
  return `${port} inet n - y - - smtpd ${options.map((option) => `-o ${option}`).join(' ')}`;
}

/** smtp(8) on the source, to the door and nowhere else; overrides whatever it does for other mail. */
export function transportEntry(context: MailContext, doorFingerprint: string): string {
  const { certificate, transport } = names(context.migration);
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
  ];
  return `${transport} unix - - y - - smtp ${options.map((option) => `-o ${option}`).join(' ')}`;
}

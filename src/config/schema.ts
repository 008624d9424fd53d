import { z } from 'zod';

/**
 * The migration file, as its one source: the validator, the types and the JSON Schema
 * (`migration.schema.json`) are all made from here. Secrets are never part of it; they are inputs.
 */

const nonEmpty = z.string().min(1);

const hostKey = z
  .string()
  .regex(/^SHA256:[A-Za-z0-9+/]{43}$/, 'write it as "SHA256:…", 43 base64 characters, no padding')
  .describe('Fingerprint of an SSH host key, as `ssh-keygen -lf` prints it.');

const endpointFields = {
  address: nonEmpty.describe('IP address or name that SSH connects to.'),
  port: z.int().min(1).max(65535).default(22).describe('SSH port.'),
  user: nonEmpty.default('root').describe('SSH user: root, or one that may use sudo.'),
  'host-keys': z
    .array(hostKey)
    .min(1)
    .describe('Every host key that is accepted. Any other key is refused.'),
};

const jumpHost = z.strictObject(endpointFields).describe('A host to go through.');

const mailHost = z.strictObject({
  ...endpointFields,
  jump: jumpHost.optional(),
  'legacy-algorithms': z
    .boolean()
    .optional()
    .describe(
      'Also offer SSH algorithms that are broken or weak (ssh-rsa with SHA-1, group1 and group14 with SHA-1, CBC ciphers), for an OpenSSH from before 2013. The pinned host key still counts.',
    ),
  'public-addresses': z
    .array(z.union([z.ipv4(), z.ipv6()]))
    .optional()
    .describe(
      'Addresses by which the world reaches this host, where they are not on its interfaces (NAT).',
    ),
});

const domainName = z
  .string()
  .regex(
    /^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'write a domain name in lower case, without a final dot',
  );

/** The domain of a relay without a public name begins with "_". */
const mailbox = z.email({ pattern: /^[^\s@"<>]+@([A-Za-z0-9_][A-Za-z0-9-]*\.)+[A-Za-z]{2,}$/ });

const absolutePath = z
  .string()
  .regex(/^\/(?!$)[^\0]*$/, 'write an absolute path, not "/" itself')
  .refine((path) => !path.split('/').includes('..'), 'must not contain ".."');

const record = z.strictObject({
  name: domainName.describe('Owner name of the RRset.'),
  type: z.enum(['A', 'AAAA', 'MX', 'TXT', 'CNAME', 'SRV', 'TLSA', 'CAA', 'PTR']),
  values: z
    .array(nonEmpty)
    .describe(
      'The whole RRset after the cutover, in presentation format; an empty list removes it.',
    ),
});

const zone = z.strictObject({
  zone: domainName,
  provider: z.enum(['rfc2136']),
  server: nonEmpty.optional().describe('rfc2136: address of the primary name server.'),
  port: z.int().min(1).max(65535).default(53),
  ttl: z.int().min(1).max(86400).default(300).describe('The lowered TTL, in seconds.'),
  records: z.array(record).min(1),
});

export const migrationSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/, 'use a-z, 0-9 and "-", at most 40 characters')
      .describe('Names this migration on both hosts, in the journal and in reports.'),
    'mail-system': z.enum(['postfix-dovecot', 'chatmail', 'qmail']),
    old: mailHost,
    new: mailHost,
    domains: z.array(domainName).min(1).describe('Every mail domain that moves.'),
    stores: z
      .array(absolutePath)
      .optional()
      .describe('Paths that hold mail. Default: what the mail system itself names.'),
    carry: z
      .array(absolutePath)
      .default([])
      .describe(
        'Other files and folders that move with the mail: password files, keys, certificates.',
      ),
    provision: z
      .enum(['prepared', 'copy', 'cmdeploy'])
      .default('prepared')
      .describe(
        'NEW is set up by you (`prepared`), gets the configuration of OLD (`copy`), or is made a relay by `cmdeploy`.',
      ),
    qmail: z
      .strictObject({
        strategy: z
          .enum(['snapshot', 'redirect'])
          .describe(
            'snapshot: mail waits in the local queue of OLD, late passes bring what it delivers afterwards. redirect: it waits in the remote queue and goes to NEW.',
          ),
        variant: z
          .enum(['files', 'mysql'])
          .default('files')
          .describe('mysql: mailboxes, aliases and hosts are in tables of the MySQL patches.'),
        path: absolutePath.default('/var/qmail').describe('Where qmail is, on both hosts.'),
      })
      .optional()
      .describe('How a qmail server moves; needed with "mail-system: qmail".'),
    freeze: z
      .strictObject({
        mode: z.enum(['hold', 'stop']).default('hold'),
        'max-minutes': z.int().min(1).max(1440).default(60),
      })
      .prefault({}),
    chatmail: z
      .strictObject({
        freeze: z
          .enum(['systemd', 'cmdeploy'])
          .default('systemd')
          .describe(
            'systemd: the relay stops in seconds. cmdeploy: besides, with freeze.mode stop, `cmdeploy run --disable-mail` is run against OLD, as the published way has it.',
          ),
      })
      .optional()
      .describe('mail-system: chatmail. What only a relay has.'),
    cutover: z.enum(['dns', 'address']).default('dns'),
    'address-command': z
      .array(nonEmpty)
      .min(1)
      .optional()
      .describe(
        'cutover: address. Program and arguments, run on the runner, that move the address to NEW.',
      ),
    'address-undo-command': z.array(nonEmpty).min(1).optional(),
    dns: z.array(zone).default([]),
    probe: z
      .strictObject({ mailbox: mailbox.describe('Mailbox that probe messages go to.') })
      .optional(),
    'late-mail': z
      .strictObject({
        port: z
          .int()
          .min(1)
          .max(65534)
          .default(10125)
          .describe(
            'TCP port on NEW that only OLD can use, for mail that still reaches OLD; the port after it too.',
          ),
      })
      .prefault({}),
    'late-clients': z
      .strictObject({
        carry: z
          .array(z.enum(['submission', 'imap', 'pop3', 'sieve', 'web']))
          .optional()
          .describe(
            'Ports of OLD that carry clients with an old DNS answer on to NEW, from activate to finish. Default: none; of a relay submission, imap and web.',
          ),
      })
      .prefault({}),
    options: z
      .strictObject({
        verify: z.enum(['names', 'sample', 'full']).default('sample'),
        'drain-quiet-seconds': z.int().min(0).max(86400).default(300),
      })
      .prefault({}),
  })
  .describe('A migration of one mail system from OLD to NEW.');

/** A validated migration file with its defaults filled in. */
export type Migration = z.output<typeof migrationSchema>;
export type MailHostConfig = Migration['old'];
export type ZoneConfig = Migration['dns'][number];
export type RecordConfig = ZoneConfig['records'][number];
export type FreezeMode = Migration['freeze']['mode'];

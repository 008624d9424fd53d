import { describe, expect, it } from 'vitest';
import { parseSettings } from './dovecot.ts';
import { parseParameters, parseServices } from './postfix.ts';
import { effective, option, ownOptions, publicServices, splitQuota } from './public-service.ts';

const postfix = (master: string, main = '') => ({
  version: '3.7.11',
  parameters: parseParameters(main),
  services: parseServices(master),
});

describe('publicServices', () => {
  it('are smtpd on port 25, by name or number, on one address, or behind postscreen', () => {
    const found = publicServices(
      postfix(`smtp inet n - y - - smtpd
192.0.2.1:25 inet n - y - - smtpd
smtpd pass - - y - - smtpd
submission inet n - y - - smtpd
127.0.0.1:10025 inet n - y - - smtpd
smtp unix - - y - - smtp`),
    );
    expect(found.map(({ key }) => key)).toEqual(['smtp/inet', '192.0.2.1:25/inet', 'smtpd/pass']);
    const screened = publicServices(postfix('smtp inet n - y - 1 postscreen'));
    expect(screened).toEqual([]);
  });

  it('are told from what we have put after them', () => {
    const administrators = 'smtp inet n - y - - smtpd -o content_filter=scan:[127.0.0.1]:10024';
    const ours = `${ownOptions}[192.0.2.2]:10126 -o smtpd_proxy_filter=`;
    const [service] = publicServices(postfix(`${administrators}${ours}`));
    expect(service).toEqual({ key: 'smtp/inet', entry: administrators, ours });
  });
});

describe('effective', () => {
  it('takes the last -o, then main.cf, and puts variables in', () => {
    const all = postfix(
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of Postfix
      'smtp inet n - y - - smtpd -o a=1 -o { b = x, { y, z } } -o a=$own -o c=${other}',
      'own = 2\na = 3\nd = 4\nother = $nothing',
    );
    const [service] = publicServices(all);
    const of = (name: string) => service && effective(service, all, name);
    expect(['a', 'b', 'c', 'd', 'e'].map(of)).toEqual(['2', 'x, { y, z }', '$nothing', '4', '']);
  });
});

describe('option', () => {
  it('keeps words with spaces together', () => {
    expect(option('a', 'b')).toBe('-o a=b');
    expect(option('a', 'b, c')).toBe('-o { a = b, c }');
  });
});

describe('splitQuota', () => {
  const dovecot = {
    version: '2.3.19.1',
    configFile: '',
    paths: [],
    files: [],
    unknown: [],
    settings: parseSettings(`service quota {
  executable = quota-status -p postfix
  inet_listener {
    port = 12340
  }
  unix_listener /var/spool/postfix/private/quota-status {
    mode = 0666
  }
}
service other {
  inet_listener {
    port = 4
  }
}`),
  };

  it.each([
    ['check_policy_service inet:127.0.0.1:12340', ''],
    [
      'permit_mynetworks, check_policy_service inet:[::1]:12340, reject_rbl_client x',
      'permit_mynetworks, reject_rbl_client x',
    ],
    [
      'permit_sasl_authenticated check_policy_service unix:private/quota-status',
      'permit_sasl_authenticated',
    ],
    ['check_policy_service { inet:127.0.0.1:12340, timeout=10s }, permit', 'permit'],
  ])('takes quota out of %s', (list, others) => {
    const split = splitQuota(list, dovecot);
    expect(split.others).toBe(others);
    expect(split.quota).toHaveLength(1);
    expect(list).toContain(split.quota[0]);
  });

  it.each([
    'check_policy_service inet:127.0.0.1:10023',
    'check_policy_service unix:private/policyd-spf, permit',
    'check_policy_service inet:127.0.0.1:4',
  ])('leaves %s', (list) => {
    expect(splitQuota(list, dovecot)).toEqual({ quota: [], others: list });
    expect(splitQuota(list, undefined)).toEqual({ quota: [], others: list });
  });
});

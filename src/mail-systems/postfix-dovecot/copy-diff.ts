/** Settings whose values a log must not show, and lines that hold one in another way. */
const secretName =
  /pass|secret|connect|dsn|token|\bkey\b|api_?key|private|salt|nonce|credential|\bpw\b|\bauth_bind|dnpass|userdn/i;
/** `{SHA512-CRYPT}$6$…`, crypt(5), `user:password@host`, base64 of a key. */
const secretValue =
  /\{[A-Z0-9.-]+\}\S|\$(?:\d|2[aby]|y|argon2\w*)\$|:\/\/[^/\s:]*:[^@\s]+@|[A-Za-z0-9+/]{48,}/;
const secretFile = /pass|secret|users$|sasl|sql|ldap|private|dkim|\.key$|\.pem$|shadow|dict/i;

/**
 * The lines of a unified diff with their secrets hidden. In a file that by its name holds secrets
 * every line is hidden; elsewhere a line that names one keeps what stands before its value.
 */
export function withoutSecrets(diff: string): readonly string[] {
  let hidden = false;
  return diff.split('\n').flatMap((line) => {
    if (line === '') return [];
    if (line.startsWith('diff ')) return [];
    const header = /^(---|\+\+\+) (\S+)/.exec(line);
    if (header) {
      hidden = secretFile.test(header[2] ?? '');
      return [`${header[1]} ${header[2]}`];
    }
    if (/^@@|^Binary files|^Only in|^\\ /.test(line)) return [line];
    return [hidden ? `${line.slice(0, 1)}***` : masked(line)];
  });
}

function masked(line: string): string {
  if (!secretName.test(line) && !secretValue.test(line)) return line;
  const name = /^([-+ ]\s*[\w.-]+\s*=)/.exec(line)?.[1];
  // The name of a file or a table says where a secret is, not what it is.
  if (name && /=\s*(?:<|[a-z]+:)?\/[\w./-]+$/.test(line)) return line;
  return name ? `${name} ***` : `${line.slice(0, 1)}***`;
}

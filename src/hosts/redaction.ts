const secrets = new Set<string>();

/** Registers a secret; every line of it that is long enough to be told from a common word is hidden. */
export function registerSecret(secret: string): void {
  for (const part of [secret, ...secret.split('\n')]) {
    if (part.trim().length >= 4) secrets.add(part.trim());
  }
}

/** The text with every registered secret replaced. For whatever comes back from a host or a program. */
export function redact(text: string): string {
  let clean = text;
  for (const secret of secrets) clean = clean.replaceAll(secret, '***');
  return clean;
}

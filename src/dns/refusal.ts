import { UserError } from '../errors.ts';
import { unknownOutcome } from './nsupdate.ts';

/** Who was asked for what, for messages. */
export interface UpdateContext {
  readonly zone: string;
  /** As messages name it: "192.0.2.53 port 53". */
  readonly server: string;
  readonly keyName: string;
}

/** A refused update as one line with the cure. The codes are those of RFC 2136 section 2.2 and RFC 8945. */
export function refusal(code: string, output: string, context: UpdateContext): UserError {
  const { zone, server, keyName } = context;
  const text = explain(code, context) ?? `it failed: ${firstLine(output)}`;
  const cause = new Error(`nsupdate for ${zone} at ${server} with key ${keyName}: ${output}`);
  return new UserError(`No DNS update of ${zone} at ${server}: ${text}.`, { cause });
}

function explain(code: string, { zone, keyName }: UpdateContext): string | undefined {
  switch (code) {
    case 'BADSIG':
      return `the secret of TSIG key ${keyName} is not the server's (BADSIG). Correct dns-credentials`;
    case 'BADKEY':
      return `the server does not know TSIG key ${keyName} with this algorithm, or not for this zone (BADKEY). Correct dns-credentials, or add the key on the server`;
    case 'BADTIME':
      return 'the clocks of this machine and the server differ by minutes (BADTIME). Set both by NTP';
    case 'BADTRUNC':
      return `the server wants a longer signature than TSIG key ${keyName} gives (BADTRUNC). Use the key's full algorithm`;
    case 'NOTAUTH':
      return `the server is not authoritative for ${zone}, or does not let TSIG key ${keyName} in (NOTAUTH). Name the zone's primary as \`server\``;
    case 'REFUSED':
      return `TSIG key ${keyName} may not change the zone (REFUSED). Allow it in the server's update policy, for ${zone}`;
    case 'NOTZONE':
      return `a record of the migration file is not within the zone (NOTZONE). Put it under its own zone`;
    case 'SERVFAIL':
      return "the server could not carry it out (SERVFAIL). Its own log says why; often it can't write its zone or journal file";
    case 'NOTIMP':
    case 'FORMERR':
      return `the server does not understand updates (${code}). It needs RFC 2136`;
    case unknownOutcome:
      return 'no reply. Check `server` and `port`, and that TCP gets through from this machine, then run the stage again: a change that is there already is not made twice';
    default:
      return undefined;
  }
}

function firstLine(output: string): string {
  return output.split('\n').find((line) => line.trim() !== '') ?? 'nsupdate said nothing';
}

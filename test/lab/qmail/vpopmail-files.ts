import { domains, special } from '../world.ts';

/*
 * A domain as vpopmail keeps it, from the documents and sources of vpopmail 5.4: the domain's folder is
 * the home that users/assign names, every user has a folder below it, some of them in a folder more,
 * since vpopmail spreads many users over folders (`.dir-control` counts them); vpasswd and vpasswd.cdb
 * name each. Its programs are a stand-in.
 */

const root = '/home/vpopmail';
export const vpopmailDomain = `${root}/domains/${domains.attic}`;
export const vdelivermail = `${root}/bin/vdelivermail`;

const [first, hashed] = special.atticUsers;

/** `domains/DOMAIN/USER`, or `domains/DOMAIN/0/USER` for the user whom a hash has moved there. */
export function vpopmailHome(address: string): string {
  const user = address.slice(0, address.indexOf('@'));
  return address === hashed ? `${vpopmailDomain}/0/${user}` : `${vpopmailDomain}/${user}`;
}

/** `name:password:uid:gid:gecos:folder:quota:clear`; both numbers are vpopmail's own flags. */
export function vpasswdLine(user: string, folder: string): string {
  return `${user}:$1$lab$aaaaaaaaaaaaaaaaaaaaa.:1:0:${user}:${folder}:NOQUOTA:\n`;
}

/** Files of the domain's folder on OLD, by path. */
export function vpopmailFiles(): Readonly<Record<string, string>> {
  const users = [first, hashed].map((address) =>
    vpasswdLine(address.slice(0, address.indexOf('@')), vpopmailHome(address)),
  );
  return {
    [`${vpopmailDomain}/.qmail-default`]: `| ${vdelivermail} '' bounce-no-mailbox\n`,
    [`${vpopmailDomain}/.dir-control`]: `2 0 0 0 \n0 1 -1 \n0 0 0 \n0 62 62 \n0 0 0 \n`,
    [`${vpopmailDomain}/vpasswd`]: users.join(''),
  };
}

/** Makes vpasswd.cdb as vpopmail does: the name, and the rest of its line. Runs in the domain's folder. */
export const makeCdb = `awk -F : '{ rest = substr($0, length($1) + 2); printf "+%d,%d:%s->%s\\n", length($1), length(rest), $1, rest } END { print "" }' vpasswd |
  cdb -c -t vpasswd.cdb.tmp vpasswd.cdb`;

// What the lab needs of this machine. Plain JavaScript, since it runs before anything is installed,
// on whatever Node the machine has.
//
//   node scripts/lab-needs.mjs            lists what is missing; exit code 1 if something is
//   node scripts/lab-needs.mjs --install  installs it through apt-get, saying what
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { pathToFileURL } from 'node:url';

/** Each need: a file that shows it is there (a bare name is looked for in PATH), and its package. */
const needs = [
  { what: 'systemd-nspawn', package: 'systemd-container' },
  { what: 'mmdebstrap', package: 'mmdebstrap' },
  { what: '/usr/share/keyrings/debian-archive-keyring.gpg', package: 'debian-archive-keyring' },
  { what: 'ip', package: 'iproute2' },
  { what: 'nsupdate', package: 'bind9-dnsutils' },
  { what: 'dig', package: 'bind9-dnsutils' },
  { what: 'openssl', package: 'openssl' },
  { what: 'ssh', package: 'openssh-client' },
  { what: 'ssh-keygen', package: 'openssh-client' },
  { what: 'pgrep', package: 'procps' },
  { what: 'setpriv', package: 'util-linux' },
  { what: 'unshare', package: 'util-linux' },
  { what: 'nsenter', package: 'util-linux' },
  { what: 'flock', package: 'util-linux' },
  { what: 'strace', package: 'strace' },
];

const systemFolders = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

function exists(what) {
  const folders = what.startsWith('/')
    ? ['']
    : [...(process.env.PATH ?? '').split(':'), ...systemFolders].map((folder) => `${folder}/`);
  return folders.some((folder) => {
    try {
      accessSync(folder + what, constants.R_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Debian package names of everything that the lab needs and this machine lacks. */
export function missingPackages() {
  const missing = needs.filter((need) => !exists(need.what)).map((need) => need.package);
  return [...new Set(missing)];
}

/** Runs a command as root: as it is, or through sudo without a question. */
function asRoot(argv) {
  const isRoot = process.getuid?.() === 0;
  const [program, ...args] = isRoot ? argv : ['sudo', '-n', ...argv];
  const result = spawnSync(program, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return result.status === 0;
}

/** Installs the packages; says what it does. Returns whether it worked. */
export function install(packages) {
  console.log(`lab: installing ${packages.join(' ')}`);
  return (
    asRoot(['apt-get', '-q', 'update']) &&
    asRoot(['apt-get', '-q', '-y', '--no-install-recommends', 'install', ...packages])
  );
}

function main(args) {
  if (process.platform !== 'linux') {
    console.error('lab: real hosts need Linux; without the lab: npm test -- --no-lab');
    return 1;
  }
  const missing = missingPackages();
  if (missing.length === 0) return 0;
  if (!args.includes('--install')) {
    console.error(
      `lab: this machine lacks the packages ${missing.join(' ')}; install them with: node scripts/lab-needs.mjs --install`,
    );
    return 1;
  }
  if (install(missing) && missingPackages().length === 0) return 0;
  console.error(`lab: could not install ${missing.join(' ')}; see the output of apt-get above`);
  return 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.exitCode = main(process.argv.slice(2));
}

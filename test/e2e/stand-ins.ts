import type { LabHost } from '../lab/lab.ts';

/**
 * Stand-ins for systems that the lab does not have: a mark that such a system leaves, or a program in
 * place of a real one that says what the real one would say there. Each returns what takes it away
 * again. They show that a mark is recognised, not that such a host looks like that in every version.
 */
export type Undo = () => Promise<unknown>;

const folder = '/run/stand-ins';

/** An empty file or, with a final slash, a folder that is a mark. */
export async function mark(host: LabHost, path: string): Promise<Undo> {
  const make = path.endsWith('/') ? 'mkdir -p "$1"' : ': > "$1"; chmod 755 "$1"';
  await host.mustSh(make, [path]);
  return () => host.mustSh('rm -r "$1"', [path]);
}

/**
 * A shell script over an existing program, as a bind mount, so that the disk stays as it is. It finds
 * the real one as "$real".
 */
export async function instead(host: LabHost, program: string, text: string): Promise<Undo> {
  const name = program.slice(program.lastIndexOf('/') + 1);
  await host.mustSh(
    `mkdir -p ${folder}
     cp -L "$1" "${folder}/$2.real"
     cat > "${folder}/$2"
     chmod 755 "${folder}/$2"
     mount --bind "${folder}/$2" "$1"`,
    [program, name],
    { stdin: `#!/bin/sh\nreal=${folder}/${name}.real\n${text}\n` },
  );
  return () => host.mustSh('umount "$1"', [program]);
}

/** A shell script where there is no such program. */
export async function added(host: LabHost, program: string, text: string): Promise<Undo> {
  await host.mustSh('cat > "$1"; chmod 755 "$1"', [program], { stdin: `#!/bin/sh\n${text}\n` });
  return () => host.mustSh('rm "$1"', [program]);
}

/** A text at the end of a file, real configuration. */
export async function appended(host: LabHost, path: string, text: string): Promise<Undo> {
  await host.mustSh('cp -a "$1" "$1.kept"; cat >> "$1"', [path], { stdin: text });
  return () => host.mustSh('mv "$1.kept" "$1"', [path]);
}

/** A small file system over a folder, with the folder's owner and mode. */
export async function smallDisk(host: LabHost, path: string, options: string): Promise<Undo> {
  await host.mustSh(
    `set -- "$1" "$2" "$(stat -c %a "$1")" "$(stat -c %u:%g "$1")"
     mount -t tmpfs -o "$2" tmpfs "$1"
     chmod "$3" "$1"
     chown "$4" "$1"`,
    [path, options],
  );
  return () => host.mustSh('umount "$1"', [path]);
}

/** A program in perl that listens on a port until it is taken away. */
export async function listener(host: LabHost, port: number): Promise<Undo> {
  await host.mustSh(
    `systemd-run -q --unit="stand-in-$1" perl -MIO::Socket::INET -e '
       my $s = IO::Socket::INET->new(Listen => 5, LocalPort => $ARGV[0], ReuseAddr => 1) or die;
       sleep 1 while 1' "$1"
     for i in $(seq 100); do
       [ -n "$(ss -Hltn "sport = :$1")" ] && exit 0
       sleep 0.05
     done
     exit 1`,
    [String(port)],
  );
  return () => host.mustSh('systemctl stop "stand-in-$1"', [String(port)]);
}

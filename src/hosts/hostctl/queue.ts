/** Beside the folders of a queue: what has come from another file system and has no place there yet. */
export const betweenQueues = '.mail-cutover';

/** Messages of a Postfix queue, moved between two folders of one host. Shell text, a part of `hostctl`. */
export const queue = String.raw`# Postfix must be down: when it starts, it renames what has another inode number and moves what lies in
# another folder than it should (postsuper(1) -s), which must never happen under a running queue manager.
edit_queue() { # GROUP ID SPOOL: set aside every queued message, in one folder that a pass copies
  recorded "$1" "$2" || printf queue | record "$1" "$2" queue "$3"
  move_queue as-it-is "$3" "$base/queue"
}

# Each message changes folders by one rename that replaces nothing (renameat2(2), RENAME_NOREPLACE),
# and is on disk when this ends. Another file system: it is copied beside the folders of the queue
# first, synced, and removed here, so that a message is never in two queues, wherever this is cut off.
# Two at a time (a connection was lost, and the command is tried again while it still runs) go one after the other.
# With the messages goes what bounce(8) has noted of them and not yet sent, as does what is in "trace".
# A name that is taken is changed within its form; postsuper(1) -s makes names fit anyway.
# as-it-is: all keep their relative paths. at-once: what was deferred comes into "incoming" too, as
# qmgr(8) itself moves what was active, with the time of now, so that it is tried when Postfix starts.
# Else it would wait for its next try, which is the time of the file (up to maximal_backoff_time away).
move_queue() { # as-it-is|at-once FROM TO
  mkdir -p "$base/lock"
  flock -x "$base/lock/queue" perl -MConfig -MErrno -MFcntl -MIO::Handle -e '
    use strict; use warnings;
    my ($how, $from, $to) = @ARGV;
    my ($staging, $staged) = ("$to/${betweenQueues}", "$from/${betweenQueues}");
    my %number = (x86_64 => 316, aarch64 => 276, riscv64 => 276, powerpc64le => 357, s390x => 347, i386 => 353, i686 => 353);
    my ($machine) = $Config{archname} =~ /^([^-]+)/;
    my %touched;
    sub folder { my ($path) = $_[0] =~ m{^(.*)/}s; return $path }
    sub on_disk {
      sysopen(my $handle, $_[0], O_RDONLY) or die "can not open $_[0]: $!\n";
      $handle->sync or die "can not sync $_[0]: $!\n";
    }
    sub place { # OLD NEW: false if NEW is there
      my ($old, $new) = ("$_[0]", "$_[1]");
      $touched{folder($_)} = 1 for $old, $new;
      if (my $call = $number{$machine}) {
        return 1 if syscall($call, -100, $old, -100, $new, 1) == 0;
        return 0 if $!{EEXIST};
        die "can not move $old: $!\n" unless $!{ENOSYS} || $!{EINVAL};
      }
      return 0 if -e $new;
      rename $old, $new or die "can not move $old: $!\n";
      return 1;
    }
    sub same { return system("cmp", "-s", "--", @_) == 0 }
    my @base52 = split //, "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
    sub others { # names like NAME
      my ($name) = @_;
      if ($name =~ /^([0-9A-F]{5})([0-9A-F]+)$/) {
        my ($micros, $rest) = (hex $1, $2);
        return map { sprintf("%05X%s", ($micros & 0xf0000) | ($micros + $_) & 0xffff, $rest) } 1 .. 999;
      }
      return map { my $other = $name; $other =~ s/.(z[^z]+)$/$_$1/; $other } @base52 if $name =~ /.z[^z]+$/;
      return ();
    }
    sub settle { # FILE FOLDER NAME
      my ($file, $into, $name) = @_;
      for my $try ($name, others($name)) {
        return if place($file, "$into/$try");
        if ($try eq $name && same($file, "$into/$try")) { unlink $file; return }
      }
      die "$into/$name is there already, and no name like it is free\n";
    }
    sub walk { # FOLDER: relative paths of folders and files
      my ($top, @folders, @files) = ($_[0]);
      my @todo = ("");
      while (defined(my $at = shift @todo)) {
        opendir(my $handle, "$top$at") or die "can not read $top$at: $!\n";
        for my $entry (grep { !/^\.\.?$/ } readdir $handle) {
          my $path = "$at/$entry";
          if (-l "$top$path") { next } elsif (-d _) { push @folders, $path; push @todo, $path } elsif (-f _) { push @files, $path }
        }
      }
      return (\@folders, \@files);
    }
    sub original { # NAME of what lies between two file systems: folder and name that it had
      my ($into, $rest) = $_[0] =~ /^(.*)%(.*)$/s;
      return ($into =~ tr{,}{/}r, $rest);
    }
    sub like { # FOLDER AS: made with owner and mode of AS
      my ($path, $as) = @_;
      return if -d $path;
      mkdir $path or die "can not make $path: $!\n";
      my @stat = stat $as;
      chown @stat[4, 5], $path;
      chmod $stat[2] & 07777, $path;
      $touched{folder($path)} = 1;
    }
    if (!-d $to) { mkdir $to or die "can not make $to: $!\n"; }
    my @queues = qw(bounce trace maildrop incoming active deferred hold);
    # What a move the other way had copied when it was cut off: the only copy, once the other is gone.
    for my $queue (@queues) {
      opendir(my $handle, "$staged/$queue") or next;
      for my $name (grep { /%/ } readdir $handle) {
        my ($into, $rest) = original($name);
        if (-e "$to/$queue/$into/$rest") { unlink "$staged/$queue/$name" or die "can not remove $staged/$queue/$name: $!\n"; next }
        like("$from/$queue", "$staged/$queue");
        my $at = "$from/$queue";
        for (split m{/}, $into) { $at .= "/$_"; like($at, "$from/$queue") }
        settle("$staged/$queue/$name", $at, $rest);
      }
      unlink "$staged/$queue/.part";
      rmdir "$staged/$queue";
    }
    rmdir $staged;
    for my $queue (@queues) {
      my $due = $how eq "at-once" && $queue =~ /^(incoming|active|deferred)$/;
      my $flat = $due && $queue ne "incoming";
      my ($source, $aside) = ("$from/$queue", "$staging/$queue");
      my $target = $flat ? "$to/incoming" : "$to/$queue";
      my $home = sub { $flat || $_[0] eq "" ? $target : "$target/$_[0]" };
      next unless -d $source || -d $aside;
      like($target, $source) if -d $source;
      # What an earlier try had copied, and removed there.
      if (-d $aside) {
        opendir(my $handle, $aside) or die "can not read $aside: $!\n";
        for my $name (grep { /%/ } readdir $handle) {
          my ($into, $rest) = original($name);
          next if -e "$source/$into/$rest";
          settle("$aside/$name", $home->($into), $rest);
        }
      }
      next unless -d $source;
      my ($folders, $files) = walk($source);
      # The hashed folders are used by the user of Postfix: they belong to whom the queue belongs to.
      like("$target$_", $target) for $flat ? () : @$folders;
      my $apart = (stat $source)[0] != (stat $target)[0];
      for my $file (@$files) {
        my ($into, $name) = $file =~ m{^/?(.*?)/?([^/]+)$}s;
        if ($due) {
          utime(undef, undef, "$source$file") or die "can not date $source$file: $!\n";
          # Postfix may be another user here (mail_owner).
          my $owner = (stat $target)[4];
          (lstat "$source$file")[4] == $owner or chown($owner, -1, "$source$file") or die "can not own $source$file: $!\n";
        }
        if (!$apart) { settle("$source$file", $home->($into), $name); next }
        like($staging, $to); like($aside, $to);
        my $copy = "$aside/" . $into =~ tr{/}{,}r . "%$name";
        system("cp", "-a", "--", "$source$file", "$aside/.part") == 0 or die "can not copy $source$file\n";
        on_disk("$aside/.part");
        rename "$aside/.part", $copy or die "can not name $copy: $!\n";
        on_disk($aside);
        unlink "$source$file" or die "can not remove $source$file: $!\n";
        on_disk(folder("$source$file"));
        settle($copy, $home->($into), $name);
      }
    }
    for (@queues) { unlink "$staging/$_/.part"; rmdir "$staging/$_" }
    rmdir $staging;
    for (keys %touched) { on_disk($_) if -d $_ }
  ' "$@"
}

# By the number that it has noted: postfix(1) waits for a second before it says that it does not run.
master_runs() { # -> its number in "master"
  command -v postconf >/dev/null || return 1
  { read -r master < "$(postconf -h queue_directory)/pid/master.pid"; } 2>/dev/null || return 1
  [ -e "/proc/$((master))" ]
}

queue_managers() { # /proc/PID/stat of each queue manager of this Postfix that runs
  master_runs || return 0
  grep -ls "^[0-9]* (qmgr) . $((master)) " /proc/[0-9]*/stat || :
}

# A reload is only asked for, and a queue manager that goes takes a flush with it: what is deferred would
# then wait for the time of its next try, up to maximal_backoff_time.
flush_queue() { # STAT...: the queue managers from before the reload
  if ! command -v postqueue >/dev/null || ! postfix status 2>/dev/null; then return 0; fi
  end=$(($(now) + 30))
  for manager; do
    while [ -e "$manager" ] && [ "$(now)" -lt "$end" ]; do sleep 0.1; done
  done
  postqueue -f
}
`;

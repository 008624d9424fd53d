#!/usr/bin/perl
# A STAND-IN for qmail, for tests on machines that have no real one. It is not qmail and shares no code
# with it: it does, in the way the manual pages tell, what the adapter touches, under the names of
# qmail's programs. What differs on purpose: one process instead of many users, a queue that every user
# may write, tables users/cdb and morercpthosts.cdb that are plain copies of their texts, no tcpto, and
# no fsync: a power cut of the lab's hosts leaves the page cache, so that a sync would cost much and
# show nothing.
#
# tcpserver starts it for every connection: modules, which take four times as long to load as it takes
# itself, are loaded where they are needed only.
use strict;
use warnings;
no warnings 'exec';

my $qmail = '/var/qmail';
my ($program) = $0 =~ m{([^/]+)$};
my $split = 23;

# --- control files: qmail-control(9) ---------------------------------------------------------------
sub slurp { open(my $file, '<', $_[0]) or return; local $/; return scalar <$file> // '' }

# undef where there is no file: not the same as an empty one
sub control {
  my $text = slurp("$qmail/control/$_[0]");
  return undef unless defined $text;
  return [grep { length && !/^#/ } map { s/[ \t]+$//r } split /\n/, $text];
}
sub number { my $lines = control($_[0]); return $lines && @$lines ? $lines->[0] : $_[1] }
sub host_name { return slurp('/proc/sys/kernel/hostname') =~ s/\n//r }
sub date {
  my @at = gmtime($_[0] // time);
  return sprintf '%02d %s %d %02d:%02d:%02d', $at[3], (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[$at[4]], $at[5] + 1900, @at[2, 1, 0];
}

# open(2), flock(2), waitpid(2) on Linux.
use constant { O_WRONLY => 1, O_RDWR => 2, O_CREAT => 0100, O_EXCL => 0200, O_TRUNC => 01000, LOCK_EX => 2, WNOHANG => 1 };
sub written {
  my ($path, $flags, $mode, @text) = @_;
  sysopen(my $file, $path, O_WRONLY | O_CREAT | $flags, $mode) or return;
  my $inode = (stat $file)[1];
  return print({$file} @text) && close($file) && $inode;
}
sub me { return number('me', host_name()) }

# --- the MySQL patches, as far as the article tells of them -----------------------------------------
sub has_tables { return -e "$qmail/control/sqlserver" }
# One line for mariadb(1): its words. The password goes by a file that is gone once it was read.
sub client {
  my %value = map { /^(\S+)\s+(.*)$/ ? ($1, $2) : () } split /\n/, slurp("$qmail/control/sqlserver");
  my $file = "/tmp/stand-in-sql.$$." . int rand 1e9;
  open(my $options, '>', $file) or return;
  chmod 0600, $file;
  print {$options} qq([client]\nhost="$value{server}"\nuser="$value{login}"\npassword="$value{password}"\n);
  close $options;
  return ($file, 'mariadb', "--defaults-extra-file=$file", '-BNn', $value{db});
}

# undef where the database does not answer: a dead one is a temporary failure. qmail-send keeps one
# client for all that it asks ($kept), others start one.
my ($keeps, $kept);
sub rows {
  my ($query) = @_;
  my ($mine, $file) = $kept;
  if (!$mine) {
    require IPC::Open2;
    ($file, my @words) = client() or return;
    push @words, '--skip-reconnect';
    $mine = {};
    eval { IPC::Open2::open2($mine->{out}, $mine->{in}, "exec @words 2>/dev/null") } or return;
    $kept = $mine if $keeps;
  }
  local $SIG{PIPE} = 'IGNORE';
  my ($old, @found) = select $mine->{in};
  $| = 1;
  select $old;
  print {$mine->{in}} "$query;\nselect '-- end';\n";
  my $whole = 0;
  while (my $line = readline $mine->{out}) {
    chomp $line;
    if ($line eq '-- end') { $whole = 1; last }
    push @found, [split /\t/, $line, -1];
  }
  unlink $file if $file;
  $kept = undef unless $whole;
  return $whole ? \@found : undef;
}
sub word { return $_[0] =~ s/[^A-Za-z0-9\@._+-]//gr }

# --- the queue: qmail-queue(8); a message's number is its inode's ----------------------------------
sub part { return sprintf '%s/queue/%s/%d/%d', $qmail, $_[0], $_[1] % $split, $_[1] }

sub enqueue {
  my ($content, $sender, @recipients) = @_;
  queue_folders() unless -d "$qmail/queue/pid";
  my $first = "$qmail/queue/pid/$$." . time . '.' . int rand 1e9;
  my $id = written($first, O_EXCL, 0644, "Received: (stand-in $$ invoked by uid $<); " . date() . " -0000\n$content") or return;
  rename $first, part('mess', $id) or return;
  written("$qmail/queue/intd/$id", O_TRUNC, 0666, "u$<\0p$$\0F$sender\0", map { "T$_\0" } @recipients) or return;
  return link("$qmail/queue/intd/$id", "$qmail/queue/todo/$id") && unlink("$qmail/queue/intd/$id");
}

sub queue_folders {
  for my $kind (qw(mess info local remote)) {
    system('mkdir', '-p', map { "$qmail/queue/$kind/$_" } 0 .. $split - 1);
    chmod 01777, "$qmail/queue/$kind", map { "$qmail/queue/$kind/$_" } 0 .. $split - 1;
  }
  system('mkdir', '-p', map { "$qmail/queue/$_" } qw(todo intd pid lock bounce));
  chmod 01777, map { "$qmail/queue/$_" } qw(todo intd pid);
}

# --- qmail-send(8) ---------------------------------------------------------------------------------
my (%locals, %virtual, %messages, %jobs, %busy, $default);

sub note {
  open(my $log, '>>', '/var/log/qmail-send.log') or return;
  print {$log} time, " @_\n";
}

# No locals: me. Only these two are read again on HUP.
sub read_names {
  %locals = map { lc $_ => 1 } @{ control('locals') // [me()] };
  %virtual = map { my ($name, $prepend) = split /:/, $_, 2; (lc $name => $prepend // '') } @{ control('virtualdomains') // [] };
}

sub rewrite {
  my ($address) = @_;
  $address .= '@' . me() unless $address =~ /@/;
  my ($user, $domain) = $address =~ /^(.*)@([^@]*)$/;
  $domain = lc $domain;
  return ('local', "$user\@$domain") if $locals{$domain};
  if (has_tables()) {
    my $found = rows(sprintf "select username from virtual where virtual_username = '%s' and virtual_host = '%s'", word($user), word($domain));
    return ('later', $address) unless $found;
    return ('local', $found->[0][0] eq 'alias' ? "alias-$user\@$domain" : "$found->[0][0]\@$domain") if @$found;
  }
  my @keys = (lc $address, $domain);
  my $rest = $domain;
  push @keys, $rest while $rest =~ s/^\.?[^.]+(?=\.)//;
  for my $key (@keys, '') {
    next unless defined $virtual{$key};
    return $virtual{$key} eq '' ? ('remote', $address) : ('local', "$virtual{$key}-$user\@$domain");
  }
  return ('remote', $address);
}

sub preprocess {
  my ($id) = @_;
  my @envelope = split /\0/, slurp("$qmail/queue/todo/$id") // return;
  my ($sender, %list) = ('');
  for (@envelope) {
    $sender = substr $_, 1 if /^F/;
    next unless /^T(.*)/s;
    my ($channel, $address) = rewrite($1);
    return if $channel eq 'later';
    push @{ $list{$channel} }, $address;
  }
  for my $channel (keys %list) {
    written(part($channel, $id), O_TRUNC, 0666, map { "T$_\0" } @{ $list{$channel} }) or return;
  }
  written(part('info', $id), O_TRUNC, 0666, "F$sender\0") or return;
  unlink "$qmail/queue/todo/$id";
  remember($id);
}

sub remember {
  my ($id) = @_;
  my $birth = (stat part('info', $id))[9] // return;
  my ($sender) = (slurp(part('info', $id)) // '') =~ /^F(.*)\0/s;
  my %message = (id => $id, birth => $birth, sender => $sender // '', bounce => '');
  for my $channel (qw(local remote)) {
    my $text = slurp(part($channel, $id)) // next;
    my $at = 0;
    for (split /\0/, $text) {
      push @{ $message{$channel} }, { address => substr($_, 1), at => $at, next => time } if /^T/;
      $at += 1 + length;
    }
  }
  $messages{$id} = \%message;
}

# birth + (sqrt(age) + 10 or 20) squared
sub later {
  my ($message, $channel) = @_;
  my $age = time - $message->{birth};
  return $message->{birth} + (int(sqrt($age > 0 ? $age : 0)) + ($channel eq 'local' ? 10 : 20))**2;
}

sub begin {
  my ($message, $channel, $recipient) = @_;
  my $report = "/tmp/stand-in-report.$$." . int rand 1e9;
  my $pid = fork // return;
  if ($pid == 0) {
    $SIG{$_} = 'DEFAULT' for qw(TERM HUP ALRM);
    $0 = "qmail-$channel"; # what ps and pgrep see
    $keeps = $kept = undef;
    $ENV{SENDER} = $message->{sender};
    open(STDIN, '<', part('mess', $message->{id})) or exit 111;
    open(STDOUT, '>', $report);
    open(STDERR, '>&', \*STDOUT);
    if ($channel eq 'local') { local_delivery($recipient->{address}, $message->{sender}) }
    else { run_remote($recipient->{address} =~ /\@([^@]*)$/, $message->{sender}, $recipient->{address}) }
    exit 111;
  }
  $recipient->{running} = 1;
  $busy{$channel}++;
  $jobs{$pid} = { message => $message, channel => $channel, recipient => $recipient, report => $report };
}

# qmail-lspawn(8): users/cdb, then accounts (qmail-getpw(9)), then alias
sub local_delivery {
  my ($address, $sender) = @_;
  my ($local, $domain) = $address =~ /^(.*)@([^@]*)$/;
  my ($user, $uid, $gid, $home, $dash, $ext) = owner($local, $domain);
  exit 111 unless defined $user;
  chdir $home or fail(111, "Unable to switch to $home. (#4.3.0)");
  $( = $) = "$gid $gid";
  ($<, $>) = ($uid, $uid);
  run_local($user, $home, $local, $dash, $ext, $domain, $sender, $default);
}

sub owner {
  my ($local, $domain) = @_;
  my ($best, $length) = (undef, -1);
  for (split /\n/, slurp("$qmail/users/cdb") // '') {
    last if $_ eq '.';
    my ($kind, $name, @fields) = /^([=+])([^:]*):([^:]*):([^:]*):([^:]*):([^:]*):([^:]*):([^:]*):/ or next;
    if ($kind eq '=' && lc $local eq lc $name) { return @fields }
    if ($kind eq '+' && lc(substr $local, 0, length $name) eq lc $name && length $name > $length) {
      ($best, $length) = ([@fields[0 .. 4], $fields[5] . substr $local, length $name], length $name);
    }
  }
  return @$best if $best;
  if (has_tables()) {
    if ($local =~ /^alias-(.*)/) {
      my $to = rows(sprintf "select alias_username, alias_host from alias where alias = '%s\@%s'", word($1), word($domain)) or return;
      if (@$to) { exit(forward_to($ENV{SENDER} // '', map { "$_->[0]\@" . ($_->[1] || me()) } @$to) ? 0 : 111) }
    }
    my $found = rows(sprintf "select uid, gid, home from mailbox where username = '%s'", word($local)) or return;
    return ($local, @{ $found->[0] }, '', '') if @$found;
  }
  for (my $end = length $local; $end >= 0; $end--) {
    next unless $end == length $local || substr($local, $end, 1) eq '-';
    my @account = getpwnam lc substr $local, 0, $end or next;
    next if $account[2] == 0;
    my @home = stat $account[7] or next;
    next if $home[4] != $account[2];
    return (@account[0, 2, 3, 7], $end == length $local ? ('', '') : ('-', substr $local, $end + 1));
  }
  my @alias = getpwnam 'alias';
  return ('alias', @alias[2, 3], $alias[7], '-', $local);
}

sub forward_to { my ($sender, @to) = @_; local $/; return enqueue(scalar <STDIN>, $sender, @to) }

sub finished {
  my ($pid, $code) = @_;
  my $job = delete $jobs{$pid} or return;
  my ($message, $channel, $recipient) = @$job{qw(message channel recipient)};
  my $said = slurp($job->{report}) // '';
  unlink $job->{report};
  delete $recipient->{running};
  $busy{$channel}--;
  note("$channel $recipient->{address}: $code $said");
  my $old = time - $message->{birth} > number('queuelifetime', 604_800);
  if ($code == 0 || $code == 100 || $old) {
    if (sysopen(my $file, part($channel, $message->{id}), O_RDWR)) { # one byte: D for done
      sysseek $file, $recipient->{at}, 0;
      syswrite $file, 'D';
    }
    $recipient->{done} = 1;
    $message->{bounce} .= "<$recipient->{address}>:\n$said\n\n" if $code != 0;
  }
  else { $recipient->{next} = later($message, $channel) }
  complete($message) unless grep { !$_->{done} } @{ $message->{local} // [] }, @{ $message->{remote} // [] };
}

sub complete {
  my ($message) = @_;
  if ($message->{bounce} ne '' && $message->{sender} ne '') {
    my $text = "From: MAILER-DAEMON\@" . me() . "\nTo: $message->{sender}\nSubject: failure notice\n\nHi. This is the stand-in for qmail-send at " . me() . ".\n\n$message->{bounce}--- Below this line is a copy of the message.\n\n" . slurp(part('mess', $message->{id}));
    enqueue($text, '', $message->{sender});
  }
  unlink map { part($_, $message->{id}) } qw(local remote info mess);
  delete $messages{ $message->{id} };
}

sub run_send {
  $default = shift // './Maildir/';
  queue_folders();
  require IO::Socket::INET; # once, for all that qmail-remote does
  $keeps = 1;
  %busy = (local => 0, remote => 0);
  my %limit = (local => number('concurrencylocal', 10), remote => number('concurrencyremote', 20));
  read_names();
  my ($stop, $again, $now) = (0, 0, 0);
  $SIG{TERM} = sub { $stop = 1 };
  $SIG{HUP} = sub { $again = 1 };
  $SIG{ALRM} = sub { $now = 1 };
  remember($_) for map { m{/(\d+)$} } glob "$qmail/queue/info/*/*";
  while (1) {
    while ((my $pid = waitpid -1, WNOHANG) > 0) { finished($pid, $? >> 8 || ($? ? 111 : 0)) }
    if ($stop) { exit 0 unless %jobs }
    else {
      if ($again) { $again = 0; read_names() }
      if ($now) {
        $now = 0;
        for my $message (values %messages) { $_->{next} = 0 for @{ $message->{local} // [] }, @{ $message->{remote} // [] } }
      }
      my @todo = map { m{/(\d+)$} } glob "$qmail/queue/todo/*";
      for (@todo > 20 ? @todo[0 .. 19] : @todo) { preprocess($_) unless $stop }
      for my $message (sort { $a->{birth} <=> $b->{birth} } values %messages) {
        for my $channel (qw(local remote)) {
          for my $recipient (@{ $message->{$channel} // [] }) {
            next if $recipient->{done} || $recipient->{running} || $recipient->{next} > time;
            next if $busy{$channel} >= $limit{$channel}; # 0: on hold
            begin($message, $channel, $recipient);
          }
        }
      }
    }
    select undef, undef, undef, 0.1;
  }
}

# --- qmail-local(8), dot-qmail(5) ------------------------------------------------------------------
sub run_local {
  my ($user, $home, $local, $dash, $ext, $domain, $sender, $standard) = @_;
  my $mode = (stat '.')[2];
  fail(111, 'Uh-oh: home directory is writable. (#4.7.0)') if $mode & 02;
  fail(111, 'Home directory is sticky: user is editing his .qmail file. (#4.2.1)') if $mode & 01000;
  my $lines;
  my @names = (".qmail$dash$ext");
  my $rest = $ext;
  while ($dash ne '' && $rest =~ s/[^-]*$//) {
    push @names, ".qmail$dash${rest}default";
    last if $rest eq '';
    $rest =~ s/-$//;
  }
  for my $name (@names) { $lines = slurp(lc $name =~ s/\./:/gr =~ s/^:/./r) // slurp($name) and last; last if defined $lines }
  fail(100, 'Sorry, no mailbox here by that name. (#5.1.1)') if !defined $lines && $dash ne '';
  $lines = $standard if !defined $lines || $lines eq '';
  local $/;
  my $message = <STDIN>;
  my $delivered = "Delivered-To: $local\@$domain\n";
  my ($head) = $message =~ /^(.*?\n)\n/s;
  fail(100, 'This message is looping: it already has my Delivered-To line. (#5.4.6)') if ($head // $message) =~ /^\Q$delivered\E/m;
  my $return = "Return-Path: <$sender>\n";
  @ENV{qw(EXT HOST LOCAL RECIPIENT SENDER DTLINE RPLINE HOME USER)} =
    ($ext, $domain, $local, "$local\@$domain", $sender, $delivered, $return, $home, $user);
  my @forward;
  for (split /\n/, $lines) {
    s/\s+$//;
    next if $_ eq '' || /^#/;
    if (/^\|(.*)/) {
      open(my $pipe, '|-', 'sh', '-c', $1) or fail(111, 'fork');
      print {$pipe} $message;
      close $pipe;
      my $code = $? >> 8;
      last if $code == 99;
      fail($code == 100 ? 100 : 111, "program ended with $code") if $code;
    }
    elsif (m{^[./].*/$}) { into_maildir($_, "$return$delivered$message") }
    elsif (m{^[./]}) {
      open(my $file, '>>', $_) or fail(111, "Unable to open $_. (#4.2.1)");
      flock $file, LOCK_EX;
      print {$file} "From $sender " . gmtime . "\n$return$delivered" . ($message =~ s/^(>*From )/>$1/gmr) . "\n";
    }
    else { push @forward, s/^&//r }
  }
  if (@forward) { enqueue($delivered . $message, $sender, @forward) or fail(111, 'Unable to forward message') }
  exit 0;
}

sub fail { print $_[1]; exit $_[0] }

# maildir(5): written in tmp, linked into new; time.pid.host
sub into_maildir {
  my ($maildir, $content) = @_;
  my $name = time . ".$$." . host_name();
  written("$maildir/tmp/$name", O_EXCL, 0600, $content) or fail(111, 'Temporary error on maildir delivery. (#4.3.0)');
  link "$maildir/tmp/$name", "$maildir/new/$name" or fail(111, 'Temporary error on maildir delivery. (#4.3.0)');
  unlink "$maildir/tmp/$name";
}

# --- qmail-remote(8) -------------------------------------------------------------------------------
sub run_remote {
  require IO::Socket::INET;
  my ($host, $sender, @recipients) = @_;
  my ($relay, $port) = route(lc $host);
  my @servers = ($relay);
  if ($relay eq '') {
    my %own = map { $_ => 1 } qx(ip -o -4 addr) =~ /inet ([0-9.]+)/g;
    my @mx = map { (split)[1] =~ s/\.$//r } sort { (split ' ', $a)[0] <=> (split ' ', $b)[0] } qx(dig +short MX @{[word($host)]});
    @servers = map { my $name = $_; map { /^([0-9.]+)$/ ? $1 : () } qx(dig +short A @{[word($name)]}) } @mx ? @mx : ($host);
    fail(111, "CNAME lookup failed temporarily. (#4.4.3)") unless @servers;
    fail(100, "Sorry. Although I'm listed as a best-preference MX or A for that host, it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)") if $own{ $servers[0] };
  }
  for my $server (@servers) {
    my $socket = IO::Socket::INET->new(PeerAddr => $server, PeerPort => $port, Timeout => 10) or next;
    $socket->autoflush(1);
    local $SIG{ALRM} = sub { fail(111, 'timeout') };
    alarm 120;
    my $answer = sub {
      my $text = '';
      while (my $line = <$socket>) { $text .= $line; last if $line =~ /^\d\d\d / }
      return $text =~ /^(\d\d\d)/m ? ($1, $text) : (421, "no answer from $server");
    };
    my $say = sub { print {$socket} "$_[0]\r\n"; my ($code, $text) = $answer->(); fail($code >= 500 ? 100 : 111, "$server: $text") if $code >= 400 };
    my ($code, $text) = $answer->();
    fail(111, "$server: $text") if $code >= 400;
    $say->('HELO ' . me());
    $say->("MAIL FROM:<$sender>");
    $say->("RCPT TO:<$_>") for @recipients;
    $say->('DATA');
    while (my $line = <STDIN>) { $line =~ s/\r?\n$//; $line =~ s/^\./../; print {$socket} "$line\r\n" }
    $say->('.');
    print {$socket} "QUIT\r\n";
    exit 0;
  }
  fail(111, "Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)");
}

# smtproutes: domain:relay:port, .suffix:relay, :relay; an empty relay means MX
sub route {
  my ($host) = @_;
  my %routes;
  for (@{ control('smtproutes') // [] }) { my ($name, $to) = split /:/, $_, 2; $routes{ lc $name } //= $to }
  my @keys = ($host);
  my $rest = $host;
  push @keys, $rest while $rest =~ s/^\.?[^.]+(?=\.)//;
  for (@keys, '') {
    next unless defined $routes{$_};
    my ($relay, $port) = split /:/, $routes{$_};
    return ($relay // '', $port // 25);
  }
  return ('', 25);
}

# --- qmail-smtpd(8) --------------------------------------------------------------------------------
sub run_smtpd {
  $| = 1;
  my $reply = sub { print "$_[0]\r\n" };
  my $allowed = control('rcpthosts'); # none: everything is accepted
  my %allowed = map { lc $_ => 1 } @{ $allowed // [] }, grep { length } split /\n/, slurp("$qmail/control/morercpthosts.cdb") // '';
  my $may = sub {
    my ($domain) = $_[0] =~ /\@([^@]*)$/ or return 1;
    return 1 if !$allowed || defined $ENV{RELAYCLIENT};
    my @keys = (my $rest = lc $domain);
    push @keys, $rest while $rest =~ s/^\.?[^.]+(?=\.)//;
    return 1 if grep { $allowed{$_} } @keys;
    return 0 unless has_tables();
    my $found = rows(sprintf "select host from rcpthosts where host = '%s'", word(lc $domain));
    return $found ? scalar @$found : undef;
  };
  my ($sender, @recipients);
  $reply->('220 ' . me() . ' ESMTP');
  while (defined(my $line = <STDIN>)) {
    $line =~ s/\r?\n$//;
    if ($line =~ /^HELO/i) { $reply->('250 ' . me()) }
    elsif ($line =~ /^EHLO/i) { $reply->('250-' . me()); $reply->('250-PIPELINING'); $reply->('250 8BITMIME') }
    elsif ($line =~ /^MAIL FROM:\s*<([^>]*)>/i) { ($sender, @recipients) = ($1); $reply->('250 ok') }
    elsif ($line =~ /^RCPT TO:\s*<([^>]*)>/i) {
      if (!defined $sender) { $reply->('503 MAIL first (#5.5.1)'); next }
      my $to = $1;
      my ($domain) = $sender =~ /(\@.*)/;
      if (grep { $_ eq $sender || $_ eq ($domain // '') } @{ control('badmailfrom') // [] }) { $reply->('553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)'); next }
      my $good = $may->($to);
      if (!defined $good) { $reply->('451 database (#4.3.0)') }
      elsif ($good) { push @recipients, $to; $reply->('250 ok') }
      else { $reply->("553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)") }
    }
    elsif ($line =~ /^DATA/i) {
      if (!@recipients) { $reply->('503 RCPT first (#5.5.1)'); next }
      $reply->('354 go ahead');
      my $content = 'Received: from unknown (' . ($ENV{TCPREMOTEIP} // 'unknown') . ')\n  by ' . me() . " with SMTP\n" =~ s/\\n/\n/r;
      my $ended = 0;
      while (defined(my $text = <STDIN>)) {
        $text =~ s/\r?\n$/\n/;
        if ($text eq ".\n") { $ended = 1; last }
        $text =~ s/^\.//;
        $content .= $text;
      }
      exit 1 unless $ended;
      my $hops = () = ($content =~ /^(.*?)\n\n/s ? $1 : $content) =~ /^(?:Received|Delivered-To):/mgi;
      if ($hops > 100) { $reply->('554 too many hops, this message is looping (#5.4.6)') }
      elsif (enqueue($content, $sender, @recipients)) { $reply->('250 ok ' . time . " qp $$") }
      else { $reply->('451 qq write error or disk full (#4.3.0)') }
      ($sender, @recipients) = ();
    }
    elsif ($line =~ /^RSET/i) { ($sender, @recipients) = (); $reply->('250 flushed') }
    elsif ($line =~ /^NOOP/i) { $reply->('250 ok') }
    elsif ($line =~ /^QUIT/i) { $reply->('221 ' . me()); exit 0 }
    else { $reply->('502 unimplemented (#5.5.1)') }
  }
}

# --- qmail-popup(8), qmail-pop3d(8) ----------------------------------------------------------------
sub run_popup {
  require POSIX;
  my ($host, @check) = @_;
  $| = 1;
  print "+OK <$$." . time . "\@$host>\r\n";
  my $user;
  # Byte by byte: what comes after belongs to the next program.
  while (defined(my $line = line_of(\*STDIN))) {
    if ($line =~ /^USER (.+)/i) { $user = $1; print "+OK \r\n" }
    elsif ($line =~ /^PASS (.+)/i && defined $user) {
      my $password = $1;
      local $^F = 3; # descriptor 3 outlives exec
      pipe(my $read, my $write);
      my $pid = fork // exit 111;
      if ($pid == 0) {
        POSIX::dup2(fileno $read, 3);
        close $write;
        exec @check;
        POSIX::_exit(111);
      }
      close $read;
      print {$write} "$user\0$password\0Y123456\0";
      close $write;
      waitpid $pid, 0;
      print "-ERR authorization failed\r\n" if $? >> 8;
      exit 0;
    }
    elsif ($line =~ /^QUIT/i) { print "+OK \r\n"; exit 0 }
    else { print "-ERR authorization first\r\n" }
  }
}

sub line_of {
  my ($handle) = @_;
  my $line = '';
  while (sysread $handle, my $byte, 1) { return $line =~ s/\r$//r if $byte eq "\n"; $line .= $byte }
  return undef;
}

sub run_pop3d {
  my ($maildir) = @_;
  $| = 1;
  exit 1 if $> == 0; # never as root
  chdir $maildir or do { print "-ERR this user has no maildir\r\n"; exit };
  my @files = sort { $a->{mtime} <=> $b->{mtime} || $a->{path} cmp $b->{path} }
    map { { path => $_, mtime => (stat)[9], size => -s _ } } grep { -f } map { glob "$_/*" } qw(new cur);
  my %gone;
  print "+OK \r\n";
  my $uid = sub { my ($name) = $files[$_[0]]{path} =~ m{/([^/:]*)[^/]*$}; return $name };
  my $list = sub {
    my ($which, $what) = @_;
    if ($which) { print '+OK ', $which, ' ', $what->($which - 1), "\r\n"; return }
    print "+OK \r\n", (map { ($_ + 1) . ' ' . $what->($_) . "\r\n" } grep { !$gone{$_} } 0 .. $#files), ".\r\n";
  };
  while (defined(my $line = line_of(\*STDIN))) {
    my ($word, $which) = split ' ', uc $line;
    if ($word =~ /^(RETR|DELE|LIST|UIDL|TOP)$/ && defined $which && ($which !~ /^\d+$/ || $which < 1 || $which > @files || $gone{ $which - 1 })) { print "-ERR no such message\r\n"; next }
    if ($word eq 'STAT') { my @left = grep { !$gone{$_} } 0 .. $#files; my $sum = 0; $sum += $files[$_]{size} for @left; print '+OK ', scalar @left, " $sum\r\n" }
    elsif ($word eq 'LIST') { $list->($which, sub { $files[$_[0]]{size} }) }
    elsif ($word eq 'UIDL') { $list->($which, $uid) }
    elsif ($word eq 'RETR' || $word eq 'TOP') { print "+OK \r\n", (map { s/^\./../r . "\r\n" } split /\n/, slurp($files[$which - 1]{path})), "\r\n.\r\n" }
    elsif ($word eq 'DELE') { $gone{ $which - 1 } = 1; print "+OK \r\n" }
    elsif ($word eq 'NOOP') { print "+OK \r\n" }
    elsif ($word eq 'QUIT') {
      for (0 .. $#files) {
        my $path = $files[$_]{path};
        if ($gone{$_}) { unlink $path }
        elsif ($path =~ m{^new/(.*)}) { rename $path, "cur/$1:2," }
      }
      print "+OK \r\n";
      exit 0;
    }
    else { print "-ERR unimplemented\r\n" }
  }
}

# The message on descriptor 0, then the envelope on descriptor 1.
sub run_queue {
  local $/;
  my $message = <STDIN>;
  open(my $envelope, '<&=1') or exit 54;
  my ($sender, @to) = map { substr $_, 1 } grep { length } split /\0/, scalar <$envelope>;
  exit(enqueue($message, $sender, @to) ? 0 : 53);
}

# --- small ones ------------------------------------------------------------------------------------
sub replace { my ($from, $to) = @_; open(my $out, '>', "$to.tmp") or die "$to: $!\n"; print {$out} slurp($from) // ''; close $out; rename "$to.tmp", $to or die "$to: $!\n" }

# qmail-inject(8)
sub run_inject {
  my $sender = 'anonymous@' . me();
  my @to;
  while (@_) {
    my $word = shift;
    if ($word eq '-f') { $sender = shift // '' }
    elsif ($word eq '--') { push @to, @_; last }
    elsif ($word !~ /^-/) { push @to, $word }
  }
  local $/;
  my $message = <STDIN>;
  $message = 'Date: ' . date() . " -0000\n$message" unless $message =~ /^Date:/mi;
  exit(enqueue($message, $sender, @to) ? 0 : 111);
}

# qmail-qread(8): date, number, size, sender; then each recipient
sub run_qread {
  for my $info (glob "$qmail/queue/info/*/*") {
    my ($id) = $info =~ m{/(\d+)$};
    my ($sender) = (slurp($info) // next) =~ /^F(.*)\0/s;
    my $date = date((stat $info)[9] // next) =~ s/^0//r . ' GMT';
    my $size = -s part('mess', $id) // 0;
    print "$date  #$id  $size  <$sender> \n";
    for my $channel (qw(local remote)) {
      for (split /\0/, slurp(part($channel, $id)) // '') { print /^D(.*)/s ? "  done\t$channel\t$1\n" : "\t$channel\t" . substr($_, 1) . "\n" }
    }
  }
}

my %run = (
  'qmail-start' => sub { exec "$qmail/bin/qmail-send", $_[0] },
  'qmail-send' => \&run_send,
  'qmail-local' => \&run_local,
  'qmail-remote' => \&run_remote,
  'qmail-smtpd' => \&run_smtpd,
  'qmail-popup' => \&run_popup,
  'qmail-pop3d' => \&run_pop3d,
  'qmail-inject' => \&run_inject,
  'qmail-queue' => \&run_queue,
  'qmail-qread' => \&run_qread,
  'qmail-qstat' => sub { printf "messages in queue: %d\nmessages in queue but not yet preprocessed: %d\n", scalar(() = glob "$qmail/queue/mess/*/*"), scalar(() = glob "$qmail/queue/todo/*") },
  'qmail-newu' => sub { replace("$qmail/users/assign", "$qmail/users/cdb") },           # qmail-newu(9)
  'qmail-newmrh' => sub { replace("$qmail/control/morercpthosts", "$qmail/control/morercpthosts.cdb") }, # qmail-newmrh(9)
  'qmail-tcpok' => sub { },
  'forward' => sub { local $/; exit(enqueue(($ENV{DTLINE} // '') . scalar <STDIN>, $ENV{SENDER} // '', @_) ? 0 : 111) }, # forward(1)
);
($run{$program} // sub { die "the stand-in has no $program\n" })->(@ARGV);

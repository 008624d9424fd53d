/** Users and groups. Shell text, a part of `hostctl`. */
export const accounts = String.raw`# --- accounts -------------------------------------------------------------------------------------
# One a line on standard input, so that no password hash is in a command line, fields parted by colons:
#   group:NAME:NUMBER
#   user:NAME:NUMBER:GROUP:HOME:SHELL:MODE:OWNER:HOMEGROUP:HASH:LAST:MIN:MAX:WARN:INACTIVE:EXPIRE:GECOS
#   member:GROUP:USER
#   password:NAME:HASH:LAST
# NUMBER is taken where it is free. MODE is - where no home is wanted. What exists is left alone,
# but for a password.
edit_accounts() { # GROUP TREE...: TREEs may come to hold what a user owns
  group=$1; shift
  trees=$(printf '%s\n' "$@")
  while IFS=: read -r kind name number primary home shell mode owner homegroup hash last min max warn inactive expire gecos; do
    case $kind in
      group) add_group "$name" "$number" < /dev/null ;;
      member) add_member "$name" "$number" < /dev/null ;;
      user) add_user < /dev/null ;;
      password) set_password "$name" "$number" "$primary" < /dev/null ;;
    esac
  done
}

add_group() { # NAME NUMBER
  if getent group "$1" > /dev/null; then return 0; fi
  recorded "$group" "group-$1" || record "$group" "group-$1" group "$1" < /dev/null
  system=; [ "$2" -ge 1000 ] || system=-r
  if getent group "$2" > /dev/null; then groupadd $system "$1"; else groupadd $system -g "$2" "$1"; fi
}

add_member() { # GROUP USER
  case " $(id -nG -- "$2" 2>/dev/null) " in *" $1 "*) return 0 ;; esac
  recorded "$group" "member-$1-$2" || record "$group" "member-$1-$2" member "$1:$2" < /dev/null
  gpasswd -a "$2" "$1" > /dev/null
}

add_user() {
  if ! recorded "$group" "user-$name"; then
    if getent passwd "$name" > /dev/null; then return 0; fi
    highest=
    if [ "$mode" != - ] && [ ! -e "$home" ]; then highest=$(first_missing "$home"); fi
    printf '%s\n%s\n%s\n' "$home" "$highest" "$trees" | record "$group" "user-$name" user "$name"
  fi
  if ! getent passwd "$name" > /dev/null; then
    set -- -M -N -g "$primary" -d "$home" -s "$shell" -c "$gecos"
    [ "$number" -ge 1000 ] || set -- "$@" -r
    if ! getent passwd "$number" > /dev/null; then set -- "$@" -u "$number"; fi
    useradd "$@" "$name"
  fi
  if [ -n "$hash" ]; then printf '%s:%s\n' "$name" "$hash" | chpasswd -e; fi
  set --
  [ -z "$last" ] || set -- "$@" -d "$last"
  [ -z "$min" ] || set -- "$@" -m "$min"
  [ -z "$max" ] || set -- "$@" -M "$max"
  [ -z "$warn" ] || set -- "$@" -W "$warn"
  [ -z "$inactive" ] || set -- "$@" -I "$inactive"
  [ -z "$expire" ] || set -- "$@" -E "$expire"
  [ "$#" -eq 0 ] || chage "$@" "$name"
  if [ "$mode" != - ] && [ ! -e "$home" ]; then
    ( umask 022; mkdir -p -- "$home" )
    chown -- "$owner:$homegroup" "$home"
    chmod -- "$mode" "$home"
  fi
}

set_password() { # NAME HASH LAST
  if ! recorded "$group" "password-$1"; then
    before=$(getent shadow -- "$1")
    printf '%s\n' "$before" | cut -d: -f2,3 | record "$group" "password-$1" password "$1"
  fi
  write_password "$@"
}

write_password() { # NAME HASH LAST
  printf '%s:%s\n' "$1" "$2" | chpasswd -e
  [ -z "$3" ] || chage -d "$3" "$1"
}

undo_password() { # NAME BEFORE
  if ! getent passwd "$1" > /dev/null; then return 0; fi
  IFS=: read -r hash last < "$2"
  write_password "$1" "$hash" "$last"
}

# passwords: the hash of each regular user when this host began to serve, as shadow(5) has it; what is
# other later was changed here.
note_passwords() {
  hashes=$(passwords_now)
  printf '%s\n' "$hashes" | put "$base/passwords"
}

passwords_now() { # login.defs(5), UID_MIN and UID_MAX of Debian
  awk -F: 'NR == FNR { if ($3 >= 1000 && $3 < 60000) regular[$1]; next } $1 in regular { print $1 ":" $2 }' /etc/passwd /etc/shadow
}

# -> "changed NAME", "gone NAME"; no hash. 44: nothing was noted.
compare_passwords() {
  [ -e "$base/passwords" ] || exit 44
  hashes=$(passwords_now)
  printf '%s\n' "$hashes" | awk -F: '
    NR == FNR { now[$1] = $2; there[$1]; next }
    $1 != "" && !($1 in there) { print "gone " $1; next }
    $1 != "" && now[$1] != $2 { print "changed " $1 }' - "$base/passwords"
}

# A user who owns mail here stays: the next user to get the number could read it.
undo_user() { # RECORD NAME
  if ! getent passwd "$2" > /dev/null; then return 0; fi
  { read -r home; read -r highest; } < "$1/before"
  if [ -n "$highest" ] && rmdir -- "$home" 2>/dev/null; then remove_parents "$home" "$highest"; fi
  held=$({ [ -z "$highest" ] || printf '%s\n' "$home"; sed 1,2d "$1/before"; } | while read -r tree; do
    if [ -n "$tree" ] && [ -e "$tree" ]; then find "$tree" -user "$2" -print -quit; fi
  done)
  if [ -n "$held" ]; then printf 'user %s stays: it owns %s\n' "$2" "$held" >&2; return 0; fi
  # userdel takes a group of the same name along, also one that was there before.
  kept=\${1%/*}
  if ! recorded "\${kept##*/}" "group-$2" && [ "$(id -gn -- "$2")" = "$2" ]; then usermod -g nogroup "$2"; fi
  userdel "$2"
}

undo_group_account() { # NAME: gone, unless it is some user's own
  number=$(getent group "$1" | cut -d: -f3)
  if [ -n "$number" ] && ! getent passwd | cut -d: -f4 | grep -qx -- "$number"; then groupdel "$1"; fi
}
`;

# The first process inside the lab's namespaces: sets them up, runs the command, ends everything.
# A shell, because as process 1 it has to reap every orphan, which node does not.
#
# $1 run folder  $2 bridge v4/prefix  $3 bridge v6/prefix  $4 resolver  $5… command
set -eu
run=$1 v4=$2 v6=$3 resolver=$4
shift 4
runs=$(dirname "$run")
id=$(basename "$run")

# The machine's sockets (container engines, system bus, resolver) must not be reachable from here.
resolv=$(realpath -m /etc/resolv.conf)
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/systemd/nspawn "$run"
printf 'nameserver %s\noptions timeout:2 attempts:2\n' "$resolver" >"$run/resolv.conf"
case $resolv in
/run/*) mkdir -p "$(dirname "$resolv")" && cp "$run/resolv.conf" "$resolv" ;;
*) mount --bind "$run/resolv.conf" "$resolv" ;;
esac

# Hosts need cgroup v2, also where the machine has v1 or both.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
drop_cgroups() { find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; }
for old in /sys/fs/cgroup/mail-cutover-lab-*; do
  [ ! -d "$old" ] || [ -d "$runs/${old##*-lab-}" ] || drop_cgroups "$old" || true
done
mkdir "/sys/fs/cgroup/mail-cutover-lab-$id"

# No default route: nothing leaves.
ip link set lo up
ip link add lab0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
ip address add "$v4" dev lab0
ip address add "$v6" dev lab0 nodad
ip link set lab0 up

# The command gets its signals itself; the shell only has to outlive it.
trap : HUP INT TERM
code=0
"$@" || code=$?

kill -KILL -1 2>/dev/null || true
tries=0
until drop_cgroups "/sys/fs/cgroup/mail-cutover-lab-$id" || [ $tries -ge 100 ]; do
  tries=$((tries + 1))
  sleep 0.02
done
exit "$code"

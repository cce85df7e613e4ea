# Boots a Debian tree ($1) by its own systemd, in the network namespace named $2, and then runs what it is told inside,
# a line each. Needs cgroups of version 2, which it mounts for itself.
set -euo pipefail
tree=$1 network=$2
mount --make-rprivate /
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
systemd-nspawn --quiet --directory="$tree" --register=no --keep-unit --console=pipe \
    --network-namespace-path="/run/netns/$network" --boot systemd.log_target=console </dev/null >"$tree.log" 2>&1 &
machine=$!
trap 'kill $machine; wait $machine || true' EXIT
inside() { nsenter --target "$init" --all -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root "$@"; }
until init=$(pgrep -P "$machine") && inside systemctl is-system-running --wait; do sleep 0.5; done 2>/dev/null
echo BOOTED
while read -r line; do
    inside bash -c "cd /root && $line" </dev/null 2>&1 || {
        echo "exit status $?"
        inside journalctl --no-pager --lines=40 --output=cat --unit=jingle-hnt
    }
    echo DONE
done

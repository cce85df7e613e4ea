# Follows the compose section of docs/docker.md for a server ($1) in a copy of the tree ($2), with podman as the engine
# and docker-compose in front of it. Run in a network namespace that is to be the host's, and in a mount namespace
# of its own; with "bridge" behind them the section on a bridge is followed. Says READY, runs what it is told, and takes all down at the end of its input.
#
# What is not the page's: what this machine cannot (cgroups' limits, more than 20000 open files), and what the
# lab needs (its addresses, phones without TLS).
set -euo pipefail
server=$1 tree=$2 network=${3:-host}
mount --make-rprivate /
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup

cat >"$tree/containers.conf" <<END
[containers]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[network]
network_backend = "netavark"
network_config_dir = "$tree/networks"
END
cat >"$tree/here.yaml" <<END
services:
  jingle-hnt:
    ulimits: { nofile: 16384, nproc: 4096 }
  $server:
    ulimits: { nofile: 16384, nproc: 4096 }
END
file=compose.yaml
if [ "$network" = bridge ]; then
    file=compose.bridge.yaml
    sed -i '/^  jingle-hnt:/a \    environment: { JINGLE_HNT_RELAY__ALLOW_NETWORKS: "198.51.100.0/24,203.0.113.0/24" }' "$tree/here.yaml"
    export DOMAIN=example.org ADDRESS=203.0.113.2
    sysctl -qw net.ipv4.ip_forward=1
fi
export CONTAINERS_CONF="$tree/containers.conf" DOCKER_HOST="unix://$tree/engine" COMPOSE_PROJECT_NAME=hnt-lab
podman system service --time=0 "$DOCKER_HOST" >"$tree/engine.log" 2>&1 &
engine=$!
ends() {
    docker compose logs --tail=30 "$server" >>"$tree/compose.log"
    docker compose down -v || true
    [ -n "${up:-}" ] || tail -n 60 "$tree/compose.log" "$tree/engine.log"
    kill "$engine"
} >&2
trap ends EXIT
until [ -S "$tree/engine" ]; do sleep 0.1; done

docker() {
    [ "$1" = compose ] || { echo "this page asks for 'docker $*', which the lab does not know" >&2; return 1; }
    [ "$2" != -f ] || set -- compose "${@:4}"
    command docker-compose -f "$file" -f "$tree/here.yaml" "${@:2}" 2>>"$tree/compose.log"
}

editor() {
    sed -i 's/"203.0.113.9"/"203.0.113.2"/; /^\[relay\]/a allow_networks = ["198.51.100.0/24", "203.0.113.0/24"]' \
        jingle-hnt.toml
    sed -i 's/^VirtualHost/c2s_require_encryption = false\nallow_unencrypted_plain_auth = true\n&/' prosody.cfg.lua ||
        sed -i 's/starttls_required: true/starttls_required: false/' ejabberd.yml
} 2>/dev/null

awk -v here="cd config/compose/$server" '
    /^```sh$/ {inside = 1; text = ""; next}
    /^```$/ {if (inside && index(text, here) == 1) printf "%s", text; inside = 0}
    inside {text = text $0 "\n"}' docs/docker.md >"$tree/commands"
if [ "$network" = bridge ]; then # its own last command in the place of the last two
    sed -i '/^docker compose/d; s/127\.0\.0\.1/0.0.0.0/' "$tree/commands"
    sed -n 's/^DOMAIN=[^ ]* ADDRESS=[^ ]* //p' docs/docker.md >>"$tree/commands"
fi
[ -s "$tree/commands" ] || { echo "docs/docker.md does not say how to begin with $server" >&2; exit 1; }
cd "$tree"
set -x
. "$tree/commands"
set +x
up=yes
echo READY
while read -r line; do
    eval "docker compose $line" </dev/null 2>&1 || echo "exit status $?"
    echo DONE
done

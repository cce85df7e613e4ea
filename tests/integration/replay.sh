# Runs the commands of an installation page, which are in a file ($1), in a mount namespace of its own, so that the machine is
# left as it was: what they write goes to a temporary tree ($2), to which the distribution's configuration has been copied.
# Run in the network namespace of the server, in the directory of what was downloaded. When the page is done it says READY,
# runs what it is told, and ends with its input.
#
# Four things are not the page's: system packages are there already (scripts/setup); there is no systemd, so that
# `systemctl` starts what the unit would; pip runs in the machine's network; and links into /usr/local/bin go to the tree.
set -euo pipefail
commands=$1 tree=$2 server=$3
mount --make-rprivate /
cp -a /etc "$tree/etc"
rm -f "$tree/etc/resolv.conf" # often a link into /run
[ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf >"$tree/etc/resolv.conf"
mount --bind "$tree/etc" /etc
mkdir -p /opt/jingle-hnt /var/lib/jingle-hnt
for dir in /opt/jingle-hnt /var/lib/jingle-hnt /run "/var/log/$server" "/var/lib/$server" /usr/local/lib; do
    [ -d "$dir" ] || continue
    cp="$tree/$(echo "$dir" | tr / _)"
    mkdir -p "$cp"
    chown --reference="$dir" "$cp"
    chmod --reference="$dir" "$cp"
    mount --bind "$cp" "$dir"
done
running=()
ends() {
    set +e
    if [ "$server" = ejabberd ]; then
        ejabberdctl stop
        ejabberdctl stopped
        epmd -kill
    fi
    kill "${running[@]}" 2>/dev/null
    wait
} >&2
trap ends EXIT

mkdir "$tree/bin"
PATH="$tree/bin:$PATH"
ln() { command ln "${@:1:$#-1}" "$(echo "${*: -1}" | sed "s:^/usr/local/bin/:$tree/bin/:")"; }

apt-get() { for package in "${@:3}"; do dpkg-query -W "$package"; done; }

python3() {
    command python3 "$@"
    # pip fetches from the internet, which the lab's server cannot reach: it runs in the machine's own network.
    if [ "$1 $2" = "-m venv" ] && [ ! -e "$3/bin/pip.real" ]; then
        mv "$3/bin/pip" "$3/bin/pip.real"
        printf '#!/bin/sh\nexec nsenter --net=%s %s/bin/pip.real "$@"\n' "$OUTSIDE" "$3" >"$3/bin/pip"
        chmod 755 "$3/bin/pip"
    fi
}

prosody_starts() {
    # The lab's phones speak no TLS, which the distribution's configuration asks for.
    grep -q 'the lab' /etc/prosody/prosody.cfg.lua ||
        sed -i 's/^VirtualHost "localhost"/c2s_require_encryption = false -- the lab\nallow_unencrypted_plain_auth = true\n&/' \
            /etc/prosody/prosody.cfg.lua
    install -d -o prosody /run/prosody
    runuser -u prosody -- prosody -F & running+=($!)
    until ss -Hltn 'sport = :5347' | grep -q .; do sleep 0.1; done
}

ejabberd_starts() {
    sed -i 's/starttls_required: true/starttls_required: false/' /etc/ejabberd/ejabberd.yml
    install -d -o ejabberd /run/ejabberd
    runuser -u ejabberd -- ejabberdctl foreground & running+=($!)
    ejabberdctl started
}

jingle_hnt_starts() {
    install -d -m 0700 /run/jingle-hnt
    $(sed -n 's/^ExecStart=//p' /etc/systemd/system/jingle-hnt.service) & running+=($!)
    until /opt/jingle-hnt/bin/jingle-hnt status >/dev/null 2>&1; do sleep 0.1; done
}

systemctl() {
    case "$*" in
    "restart prosody") prosody_starts ;;
    "restart ejabberd") ejabberd_starts ;;
    "enable --now jingle-hnt") jingle_hnt_starts ;;
    daemon-reload) ;;
    *) echo "this page asks for 'systemctl $*', which the replay does not know" >&2; return 1 ;;
    esac
}

set -x
. "$commands"
set +x
echo READY
# What the test types after that, a line each.
while read -r line; do
    bash -c "$line" </dev/null 2>&1 || echo "exit status $?"
    echo DONE
done

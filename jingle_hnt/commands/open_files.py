"""Files and directories that every local user may write: a part of `check`.

Whoever writes the configuration or the secret decides where the calls of all go; whoever writes the
state directory decides which ports are whose.
"""

import stat
from collections.abc import Iterator
from pathlib import Path

from jingle_hnt.admin.snapshots import CheckFinding
from jingle_hnt.settings.model import Settings


def writable_by_all(settings: Settings, config: Path) -> Iterator[CheckFinding]:
    """A finding for each that anybody may write; one that all is well where none is."""
    found = [finding for name, path in _paths(settings, config) for finding in _look(name, path)]
    well = CheckFinding(verdict="ok", subject="permissions", text="no other user writes our files")
    yield from found or [well]


def promises(settings: Settings, alone: bool = True) -> Iterator[CheckFinding]:
    """Warn of options whose effect depends on more than jingle-hnt.

    Where we are `alone`, no server module can say how it decides without us.
    """
    interfaces = len({interface.address for interface in settings.relay.interfaces})
    first, last = settings.relay.port_range
    ports, per_user = (last - first + 1) * interfaces, settings.budgets.ports_per_user
    if not per_user or per_user * 4 > ports:
        text = (
            f"one user may hold {per_user or 'all'} of {ports} media ports, so that few leave none"
            f" to others; write ports_per_user = {max(4, ports // 16)} in [budgets], or widen"
            " relay.ports"
        )
        yield CheckFinding(verdict="warn", subject="budgets", text=text)
    rules = {rule.mode for rule in settings.ice.rules}
    if alone and (settings.ice.mode == "terminate" or "terminate" in rules):
        text = (
            "ICE ends at the relay, which hides addresses while the server asks us; write"
            ' jingle_hnt_fail = "closed" (ejabberd: fail: closed) for the module, so that calls are'
            " refused and not passed on when we do not answer"
        )
        yield CheckFinding(verdict="warn", subject="promise of hidden addresses", text=text)


def privacy(settings: Settings) -> Iterator[CheckFinding]:
    """Options that take a user for a stranger."""
    versions = {interface.address.version for interface in settings.relay.interfaces}
    if 6 in versions and settings.relay.widen_v6 == 128:
        text = (
            "widen_v6 = 128 takes a device for a stranger when it uses another address of its"
            " network, which it does every day (RFC 8981); write widen_v6 = 64"
        )
        yield CheckFinding(verdict="warn", subject="users of IPv6", text=text)


def _paths(settings: Settings, config: Path) -> Iterator[tuple[str, Path]]:
    yield "configuration", config
    for server in settings.xmpp.servers:
        if server.secret_file is not None:
            yield "secret file", server.secret_file
    yield "state directory", settings.state.directory
    yield "runtime directory", settings.state.runtime_directory


def _look(name: str, path: Path) -> Iterator[CheckFinding]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # what is missing, others say
    if name == "secret file" and mode & (stat.S_IROTH | stat.S_IWOTH) == stat.S_IROTH:
        text = f"every user of this machine may read it; run chmod o-r {path}"
        yield CheckFinding(verdict="warn", subject=f"{name} {path}", text=text)
    if mode & stat.S_IWOTH:
        text = f"every user of this machine may write it; run chmod o-w {path}"
        yield CheckFinding(verdict="FAIL", subject=f"{name} {path}", text=text)

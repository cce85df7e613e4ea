"""The findings of a running process about itself, one for each thing that calls depend on.

Each takes what was found and gives the line that an administrator reads. The command line's
``check`` uses the same lines for what it finds out itself.
"""

from collections.abc import Container, Iterable, Iterator, Mapping

from jingle_hnt.admin.snapshots import CheckFinding, PortsSnapshot
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.servers import ComponentServices, ModuleState, Services

NOT_NATIVE = "not built; media moves in pure Python, at a fraction of the speed"
SEE_LOG = "the log says why"
PORTS_OF_A_CALL = 4
"""RTP and RTCP towards each of the two parties."""


def links(faults: Mapping[str, str]) -> Iterator[CheckFinding]:
    """The connection of each component to its XMPP server; a fault says why there is none."""
    down = "not connected: calls pass unrelayed or are refused, as the module's fail policy says;"
    for component, why in faults.items():
        verdict, text = ("FAIL", f"{down} {why}") if why else ("ok", "connected")
        subject = f"XMPP connection of {component}"
        yield CheckFinding(verdict=verdict, subject=subject, text=text)


def rivalries(found: Mapping[str, str]) -> Iterator[CheckFinding]:
    """Components as which another process connects too; nothing where there is none."""
    for component, text in found.items():
        yield CheckFinding(verdict="FAIL", subject=f"second instance of {component}", text=text)


def modules(states: Mapping[str, ModuleState], callers: Container[str]) -> Iterator[CheckFinding]:
    """Report on the server module of each domain; a fault says what to write.

    Users of `callers` have another one: there it may well be shut.
    """
    for domain, state in states.items():
        verdict, text = (
            "ok",
            "answers: calls of its users are relayed, and they need nothing for it",
        )
        if state.fault:
            verdict, text = ("warn" if domain in callers else "FAIL"), state.fault
        elif state.caution:
            verdict, text = "warn", f"answers, but {state.caution}"
        elif state.server:
            text += f"; when we come back, {state.server} lets go of our old connection at once"
        yield CheckFinding(verdict=verdict, subject=f"server module of {domain}", text=text)


def unlisted(states: Mapping[str, ModuleState], domains: Container[str]) -> Iterator[CheckFinding]:
    """Hosts that load the module for our component and are not served; nothing of the others."""
    hosts = dict.fromkeys(host for state in states.values() for host in state.hosts)
    for host in hosts:
        if host not in domains:
            text = (
                "loads the server module, and is not served: its calls pass unrelayed; write it"
                " into xmpp.domains, or take jingle_hnt out of its modules"
            )
            yield CheckFinding(verdict="warn", subject=f"virtual host {host}", text=text)


def hidden_addresses(states: Mapping[str, ModuleState]) -> Iterator[CheckFinding]:
    """Where ICE ends at the relay so that nobody learns an address: whether that always holds."""
    for domain, state in states.items():
        subject = f"promise of hidden addresses of {domain}"
        if state.fails == "open":
            text = (
                "ICE ends at the relay, and the module lets calls pass as they came when we do not"
                ' answer; write jingle_hnt_fail = "closed" (ejabberd: fail: closed), so that they'
                " are refused then"
            )
            yield CheckFinding(verdict="warn", subject=subject, text=text)
        elif state.fails:
            text = "held: without us its module refuses calls"
            yield CheckFinding(verdict="ok", subject=subject, text=text)


def component_services(offers: ComponentServices) -> Iterator[CheckFinding]:
    """Report on addresses at the component, and on relay channels."""
    text = "shut; where a server module cannot be, write enabled = true in [addresses]"
    if offers.callers:
        users = ", ".join(sorted(offers.callers))
        called = rf"bob\40{offers.domains[0]}@{offers.component}"
        text = f"open: users of {users} may call {called}, and anybody else like that"
    yield CheckFinding(verdict="ok", subject=f"addresses at {offers.component}", text=text)
    text = (
        "shut; for clients that ask for a relay (XEP-0278), write enabled = true in [relay_nodes]"
    )
    if offers.channels:
        text = f"open: users of {', '.join(offers.domains)} may ask for them"
    yield CheckFinding(verdict="ok", subject=f"relay channels of {offers.component}", text=text)


def services(told: Mapping[str, Services]) -> Iterator[CheckFinding]:
    """Whether users whose network has no UDP have a server that helps them, which we are not."""
    for domain, found in told.items():
        subject = f"users of {domain} without UDP"
        is_tls = (s for s in found.offered if s.type == "turns")
        server = next(is_tls, None)
        if server is not None:
            text = f"are offered TURN over TLS by {server.host} port {server.port}"
            yield CheckFinding(verdict="ok", subject=subject, text=text)
            continue
        why = f"{domain}: {found.fault}" if found.fault else f"{domain} lists none (XEP-0215)"
        text = (
            f"have no TURN over TLS, and this relay needs UDP; {why}. Run eturnal or coturn with"
            " TLS, and list it as a service of type turns"
        )
        yield CheckFinding(verdict="warn", subject=subject, text=text)


def stun_servers(told: Mapping[str, Services]) -> tuple[str, ...]:
    """The STUN servers over UDP of all domains, as ``host:port``, each once."""
    found = (s for services in told.values() for s in services.offered if s.type == "stun")
    udp = (s for s in found if s.transport in ("", "udp"))
    return tuple(dict.fromkeys(f"{s.host}:{s.port}" for s in udp))


def plane(engine: str | None, fault: str = "") -> CheckFinding:
    """The forwarding plane, and which engine moves its packets."""
    if engine is None:
        text = f"not connected: no media is relayed; {fault or SEE_LOG}"
        return CheckFinding(verdict="FAIL", subject="forwarding plane", text=text)
    if engine != "native":
        return CheckFinding(verdict="warn", subject="forwarding plane", text=NOT_NATIVE)
    return CheckFinding(verdict="ok", subject="forwarding plane", text="up, native engine")


def files(journal: bool, history: bool) -> Iterator[CheckFinding]:
    """The two files of the state directory."""
    for name, healthy in (("journal", journal), ("history", history)):
        text = "can be written"
        if not healthy:
            text = (
                f"the {name} cannot be written; calls go on, but see to the disk and to"
                " `state.directory` (is it full, read-only, or gone?)"
            )
        yield CheckFinding(verdict="ok" if healthy else "FAIL", subject=name, text=text)


def ports(counts: PortsSnapshot, scarcest: tuple[IPAddress, int]) -> CheckFinding:
    """Report the free ports of the address that has the fewest."""
    address, free = scarcest
    room = free // PORTS_OF_A_CALL
    text = f"{free} free of {address}: enough for {room} more audio calls"
    if not room:
        text = f"none of {address} free for another call; widen `relay.ports`"
        if counts.shunned > counts.leased + counts.quarantined:
            text = (
                "other processes hold the free ones; end them (`ss -unlp` names them), or write"
                " another range in `relay.ports`"
            )
    return CheckFinding(verdict="ok" if room else "FAIL", subject="media ports", text=text)


def host(faults: Iterable[str]) -> Iterator[CheckFinding]:
    """Report what on this host prevents the next call; nothing if all is well."""
    for text in faults:
        yield CheckFinding(verdict="FAIL", subject="this host", text=text)


def media(unheard: int, is_fault: bool) -> CheckFinding:
    """Return whether any party was heard of late; `unheard` relayed calls in a row had nobody."""
    if is_fault:
        text = (
            f"in the last {unheard} relayed calls nobody was heard: the address that parties are"
            " told is wrong, or a firewall stops UDP to `relay.ports`"
        )
        return CheckFinding(verdict="FAIL", subject="media", text=text)
    return CheckFinding(
        verdict="ok", subject="media", text="parties are heard, as far as there are calls"
    )


def admission(draining: bool) -> CheckFinding:
    """Return whether new calls are taken."""
    if draining:
        text = "draining: no new calls are relayed; `jingle-hnt undrain` ends it"
        return CheckFinding(verdict="warn", subject="new calls", text=text)
    return CheckFinding(verdict="ok", subject="new calls", text="are taken")

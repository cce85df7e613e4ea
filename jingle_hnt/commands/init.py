"""init: three questions, then a configuration, a secret, and what the XMPP server needs."""

import argparse
import asyncio
import os
import re
import secrets
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from pydantic import ValidationError

from jingle_hnt.commands.advertised import is_private
from jingle_hnt.settings.model import InterfaceOptions

Address = IPv4Address | IPv6Address

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")

CONFIGURATION = """\
# jingle-hnt; every option with its default is in jingle-hnt.toml of the distribution.

[xmpp]
component = "{component}"
domains = ["{domain}"]
server = "127.0.0.1:5347"
secret_file = "{secret_file}"

[relay]
interfaces = [{interfaces}]
{allowed}"""

PROSODY = """\
Prosody: run jingle-hnt module prosody, then add to prosody.cfg.lua:

    component_conflict_resolve = "kick_old"   -- a component whose host was cut off may come back

    VirtualHost "{domain}"
        modules_enabled = {{ "jingle_hnt" }}
        jingle_hnt_component = "{component}"

    Component "{component}"
        component_secret = "(the content of {secret_file})"
"""


EJABBERD = """\
ejabberd: run jingle-hnt module ejabberd, then
ejabberdctl module_install mod_jingle_hnt (another component than hnt.{domain} is written into the
module's conf/mod_jingle_hnt.yml first), and add to ejabberd.yml, under listen:

    - port: 5347
      ip: "127.0.0.1"
      module: ejabberd_service
      global_routes: false
      hosts:
        {component}:
          password: "(the content of {secret_file})"
"""


def initialise(options: argparse.Namespace) -> int:
    """Write the configuration and the secret; files that exist are kept without --force."""
    try:
        return _initialise(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def _initialise(options: argparse.Namespace) -> int:
    domain = _domain(_answer(options.domain, "XMPP domain", "example.org", options.yes), "domain")
    component = _answer(options.component, "Component domain", f"hnt.{domain}", options.yes)
    component = _domain(component, "component")
    if component == domain:
        raise ValueError(f"{domain} is the users' own: name the component as hnt.{domain}, say")
    secret_file: Path = options.secret_file or options.config.with_name("secret")
    existing = [path for path in (options.config, secret_file) if path.exists()]
    if existing and not options.force:
        kept = " and ".join(map(str, existing))
        print(f"{kept} exist and are kept; --force writes over them", file=sys.stderr)
        return 1
    relay, advertise = _addresses(options)
    names = {
        "component": component,
        "domain": domain,
        "interfaces": _interface(relay, advertise),
        "allowed": "" if advertise or not is_private(relay) else _allowed(relay),
        "secret_file": secret_file,
    }
    for path in existing:
        path.replace(path.with_name(f"{path.name}.old"))
        print(f"{path} is there already; it is kept as {path.name}.old")
    _write(options.config, CONFIGURATION.format(**names), 0o644)
    _write(secret_file, secrets.token_urlsafe(32) + "\n", 0o600)
    print(f"written: {options.config}, {secret_file}\n")
    print(PROSODY.format(**names))
    print(EJABBERD.format(**names))
    print("Then: jingle-hnt unit (with systemd), jingle-hnt check, jingle-hnt run")
    return 0


def _domain(text: str, what: str) -> str:
    """A domain as XMPP servers write it (RFC 7622 section 3.2). Raises ValueError for another."""
    name = text.strip().rstrip(".").lower()
    try:
        ascii_name = name.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    if "@" in name or "/" in name or ":" in name:
        raise ValueError(f"{text!r} is no {what}: write the name alone, such as example.org")
    if not ascii_name or not all(_LABEL.fullmatch(label) for label in ascii_name.split(".")):
        raise ValueError(f"{text!r} is no {what}; write one such as example.org")
    return name


def _addresses(options: argparse.Namespace) -> tuple[Address, Address | None]:
    """The relay's address, and what parties are told where that is another one."""
    here = host_addresses()
    seen: Address | None = None
    if options.stun:
        found = asyncio.run(_seen_from(here, options.stun))
        if found is None:
            print(f"{options.stun} does not answer", file=sys.stderr)
        else:
            here, seen = [found[0]], found[1]
            print(f"{options.stun} sees {found[0]} as {seen}")
    if here and options.relay_address is None:
        print(f"addresses of this host: {', '.join(map(str, here))}")
    relay = _address(
        _answer(options.relay_address, "Relay address", str(here[0]) if here else None, options.yes)
    )
    if options.relay_address is None and relay not in here:
        print(f"{relay} is not among them: `jingle-hnt check` says more", file=sys.stderr)
    advertise = None if options.advertise is None else _address(options.advertise)
    if advertise is None and seen is not None and seen != relay and seen.version == relay.version:
        advertise = seen
    _check(relay, advertise)
    if advertise is None and is_private(relay):
        print(
            f"{relay} is private: if users are outside of its network, write what they reach it by"
            " as --advertise, or name a STUN server as --stun",
            file=sys.stderr,
        )
    return relay, None if advertise == relay else advertise


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file of this mode whatever the umask is; systemd's dynamic user reads the first.

    It holds no secret; that is in a file of its own.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        os.fchmod(descriptor, mode)


def _answer(given: str | None, question: str, default: str | None, silent: bool) -> str:
    if given is not None:
        return given
    if silent or not sys.stdin.isatty():
        if default is None:
            raise SystemExit(f"{question}: not given, and there is nobody to ask; see --help")
        return default
    hint = "" if default is None else f" [{default}]"
    return (
        input(f"{question}{hint}: ").strip() or default or _answer(None, question, default, False)
    )


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IP address; write one such as 203.0.113.9") from None


def _check(relay: Address, advertise: Address | None) -> None:
    """Refuse what the configuration would refuse. Raises ValueError."""
    try:
        InterfaceOptions.model_validate({"address": relay, "advertise": advertise})
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def host_addresses() -> list[Address]:
    """The addresses of this host that others may reach, public ones first, IPv4 before IPv6."""
    from aioice.ice import get_host_addresses  # nothing else of `init` needs it

    found = map(ip_address, get_host_addresses(use_ipv4=True, use_ipv6=True))
    usable = (ip for ip in found if not (ip.is_loopback or ip.is_link_local or ip.is_multicast))
    return sorted(usable, key=lambda ip: (is_private(ip), ip.version, int(ip)))


async def _seen_from(here: Iterable[Address], server: str) -> tuple[Address, Address] | None:
    """The first of these addresses that a STUN server answers, and what it sees it as."""
    from jingle_hnt.commands.reach import seen_from

    for ip in here:
        found = await seen_from((str(ip), 0), server)
        if found is not None:
            return ip, ip_address(found[0])
    return None


def _interface(relay: Address, advertise: Address | None) -> str:
    told = "" if advertise is None else f', advertise = "{advertise}"'
    return f'{{ address = "{relay}"{told} }}'


def _allowed(relay: Address) -> str:
    """For a network that is its users' own: what lets them be peers, to be written by who knows."""
    network = ip_network((relay, 24 if relay.version == 4 else 64), strict=False)
    return f'# allow_networks = ["{network}"]  # where all users are inside of this network\n'

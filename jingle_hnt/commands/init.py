"""init: three questions, then a configuration, a secret, and what the XMPP server needs."""

import argparse
import os
import secrets
import sys
from ipaddress import ip_address
from pathlib import Path

from jingle_hnt.commands import AddConfig, Commands

CONFIGURATION = """\
# jingle-hnt; every option with its default is in jingle-hnt.toml of the distribution.

[xmpp]
component = "{component}"
domains = ["{domain}"]
server = "127.0.0.1:5347"
secret_file = "{secret_file}"

[relay]
interfaces = [{{ address = "{relay}" }}]
"""

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


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the command."""
    command = commands.add_parser("init", help="write a configuration")
    add_config(command)
    command.add_argument("--domain", help="the XMPP domain whose users call, such as example.org")
    command.add_argument("--component", help="the component's domain (default: hnt.DOMAIN)")
    command.add_argument("--relay-address", help="this host's IP address that clients can reach")
    command.add_argument("--secret-file", type=Path, help="where the secret is kept")
    command.add_argument("--yes", action="store_true", help="ask nothing")
    command.add_argument("--force", action="store_true", help="write over files that exist")
    command.set_defaults(command=initialise)


def initialise(options: argparse.Namespace) -> int:
    """Write the configuration and the secret; files that exist are kept without --force."""
    domain = _answer(options.domain, "XMPP domain", "example.org", options.yes)
    component = _answer(options.component, "Component domain", f"hnt.{domain}", options.yes)
    relay = _answer(options.relay_address, "Relay address", None, options.yes)
    try:
        ip_address(relay)
    except ValueError:
        print(f"{relay!r} is no IP address; write one such as 203.0.113.9", file=sys.stderr)
        return 2
    secret_file: Path = options.secret_file or options.config.with_name("secret")
    existing = [path for path in (options.config, secret_file) if path.exists()]
    if existing and not options.force:
        kept = " and ".join(map(str, existing))
        print(f"{kept} exist and are kept; --force writes over them", file=sys.stderr)
        return 1
    names = {"component": component, "domain": domain, "relay": relay, "secret_file": secret_file}
    _write(options.config, CONFIGURATION.format(**names), 0o644)
    _write(secret_file, secrets.token_urlsafe(32) + "\n", 0o600)
    print(f"written: {options.config}, {secret_file}\n")
    print(PROSODY.format(**names))
    print(EJABBERD.format(**names))
    print("Then: jingle-hnt unit (with systemd), jingle-hnt check, jingle-hnt run")
    return 0


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

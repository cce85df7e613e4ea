"""module, unit: what other programs need of the distribution, put where they find it.

The files come with the package (`share`), so that an installation needs no checkout.
"""

import argparse
import os
import shutil
import sys
from importlib.resources import as_file, files
from pathlib import Path

from jingle_hnt.model.commands import EJABBERD_SOURCES, PROSODY_MODULES

_AFTERWARDS = {
    "prosody": (
        "Prosody looks there if the directory is one of plugin_paths. Then: modules_enabled ="
        ' { "jingle_hnt" } in the VirtualHost, and prosodyctl reload or a restart'
    ),
    "ejabberd": "Then: ejabberdctl module_install mod_jingle_hnt (module_upgrade to replace one)",
}


def put_module(options: argparse.Namespace) -> int:
    """Copy the module of a server; one of an earlier version is replaced."""
    prosody = options.server == "prosody"
    into: Path = options.into or Path(PROSODY_MODULES if prosody else EJABBERD_SOURCES)
    name = "mod_jingle_hnt.lua" if prosody else "mod_jingle_hnt"
    try:
        with as_file(files("jingle_hnt") / "share" / options.server / name) as source:
            written = _copied(source, into)
    except OSError as error:
        return _cannot(into, error)
    print(f"written: {written}\n{_AFTERWARDS[options.server]}")
    return 0


def put_unit(options: argparse.Namespace) -> int:
    """Write the unit, with the path of this program; one that an operator changed is kept."""
    program = _program()
    shipped = (files("jingle_hnt") / "share" / "systemd" / "jingle-hnt.service").read_text()
    text = shipped.replace("/opt/jingle-hnt/bin/jingle-hnt", str(program))
    path = options.into / "jingle-hnt.service"
    if path.exists() and path.read_text() != text and not options.force:
        print(
            f"{path} is another one, and is kept: put changes of your own into"
            f" {path}.d/local.conf, then write over it with --force",
            file=sys.stderr,
        )
        return 1
    try:
        options.into.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    except OSError as error:
        return _cannot(options.into, error)
    print(f"written: {path}")
    if program.is_relative_to("/home") or program.is_relative_to("/root"):
        print(
            f"{program} is in a home directory, which the unit does not see (ProtectHome=):"
            " install the program elsewhere, such as in /opt/jingle-hnt"
        )
    print("Then: systemctl daemon-reload, systemctl enable --now jingle-hnt")
    return 0


def _program() -> Path:
    """The console script of this installation."""
    beside = Path(sys.executable).with_name("jingle-hnt")
    return beside if beside.exists() else Path(shutil.which("jingle-hnt") or sys.argv[0]).absolute()


def _copied(source: Path, into: Path) -> Path:
    """Copy a file or a directory, for the owner of the nearest directory that was there before."""
    there = next(path for path in (into, *into.absolute().parents) if path.exists())
    owner = there.stat()
    into.mkdir(parents=True, exist_ok=True)
    target = into / source.name
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    if os.geteuid() == 0:
        made = [path for path in (into, *into.absolute().parents) if path.is_relative_to(there)]
        for path in (*made, target, *target.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    return target


def _cannot(into: Path, error: OSError) -> int:
    print(
        f"{into} cannot be written ({error.strerror}): run this as root, or choose another"
        " directory with --into",
        file=sys.stderr,
    )
    return 1

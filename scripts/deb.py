"""Makes Debian packages out of our wheels, one for each architecture: `deb.py WHEEL... INTO`.

The package brings its Python libraries for the Python of Debian 12 and of Debian 13, so it outlives
the change from one to the other. They come as wheels from the package index that pip is
configured for; nothing is compiled.
"""

import argparse
import email
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from email.message import Message
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MATERIAL = ROOT / "packaging" / "debian"
PYTHONS = ("3.11", "3.13")
"""Those of Debian 12 and 13."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PLATFORMS = ("2_34", "2_28", "2_26", "2_17")
"""Versions of glibc that Debian 12 has, or is newer than; pip wants each by its name."""
STRIP = {"amd64": "strip", "arm64": "aarch64-linux-gnu-strip"}
MAINTAINER = "jingle-hnt maintainers <maintainers@jingle-hnt.org>"
CONSOLE_SCRIPT = """\
#!/opt/jingle-hnt/bin/python3
import sys
from jingle_hnt.cli import main
sys.exit(main())
"""
CONFIGURATION = "home = /usr/bin\ninclude-system-site-packages = false\n"
SHIPPED = {
    "prosody/mod_jingle_hnt.lua": "usr/lib/prosody/modules/mod_jingle_hnt.lua",
    "nftables/jingle-hnt.nft": "etc/jingle-hnt/jingle-hnt.nft",
    "ufw/jingle-hnt": "etc/ufw/applications.d/jingle-hnt",
    "firewalld/jingle-hnt.xml": "usr/lib/firewalld/services/jingle-hnt.xml",
    "jingle-hnt.toml": "usr/share/doc/jingle-hnt/examples/jingle-hnt.toml",
    "grafana/jingle-hnt.json": "usr/share/doc/jingle-hnt/examples/grafana.json",
    "prometheus/alerts.yml": "usr/share/doc/jingle-hnt/examples/alerts.yml",
    "completion/jingle-hnt.bash": "usr/share/bash-completion/completions/jingle-hnt",
    "completion/_jingle-hnt": "usr/share/zsh/vendor-completions/_jingle-hnt",
}
SCRIPTS = ("postinst", "prerm", "postrm")
CONDITION = """\
# The package starts the service; there is nothing to start before "jingle-hnt init".
ConditionPathExists=/etc/jingle-hnt/jingle-hnt.toml
"""
ENVIRONMENT = "EnvironmentFile=-/etc/default/jingle-hnt\n"


def main() -> int:
    """Make the packages, and print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    parser.add_argument("into", type=Path, metavar="INTO")
    options = parser.parse_args()
    for wheel in options.wheels:
        print(make(wheel, options.into))
    return 0


def make(wheel: Path, into: Path) -> Path:
    """The package that a wheel makes."""
    version = wheel.name.split("-")[1]
    machine = next(machine for machine in ARCHITECTURES if wheel.stem.endswith(machine))
    architecture = ARCHITECTURES[machine]
    into.mkdir(parents=True, exist_ok=True)
    made = into / f"jingle-hnt_{version}-1_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="jingle-hnt-deb-") as name:
        tree = Path(name)
        tree.chmod(0o755)
        libraries = [install(wheel, machine, python, tree) for python in PYTHONS]
        program(tree, architecture)
        shipped(libraries[0] / "jingle_hnt" / "share", tree)
        documents(libraries[0], tree, version)
        control(tree, version, architecture)
        seal(tree)
        words = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z9", "--build", str(tree), str(made)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return made


def install(wheel: Path, machine: str, python: str, tree: Path) -> Path:
    """Put the wheel and what it needs where that Python looks; the directory."""
    target = tree / "opt/jingle-hnt/lib" / f"python{python}" / "site-packages"
    words = [sys.executable, "-m", "pip", "install", "-qq", "--no-compile", "--target", str(target)]
    words += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    words += [f"--abi=cp{python.replace('.', '')}", "--abi=abi3", "--abi=none"]
    words += [f"--platform=manylinux_{glibc}_{machine}" for glibc in PLATFORMS]
    words += [f"--platform=manylinux2014_{machine}", str(wheel)]
    subprocess.run(words, check=True)
    for extra in ("bin", "share"):  # scripts for the interpreter out here, and what is not Python's
        shutil.rmtree(target / extra, ignore_errors=True)
    for found in target.rglob("direct_url.json"):
        found.unlink()  # says where the wheel was
    for file in target.rglob("*"):
        if file.is_file() and file.read_bytes()[:2] == b"#!":  # nobody runs them by themselves
            file.write_bytes(file.read_bytes().partition(b"\n")[2])
    return target


def program(tree: Path, architecture: str) -> None:
    """The virtual environment around the libraries: it needs no more than this."""
    home = tree / "opt/jingle-hnt"
    (home / "bin").mkdir()
    (home / "bin/python3").symlink_to("/usr/bin/python3")
    (home / "bin/python").symlink_to("python3")
    (home / "pyvenv.cfg").write_text(CONFIGURATION)
    script = home / "bin/jingle-hnt"
    script.write_text(CONSOLE_SCRIPT)
    script.chmod(0o755)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/jingle-hnt").symlink_to("/opt/jingle-hnt/bin/jingle-hnt")
    for library in home.rglob("*.so*"):
        subprocess.run([STRIP[architecture], "--strip-unneeded", str(library)], check=True)


def shipped(share: Path, tree: Path) -> None:
    """What other programs look for, where Debian's have it."""
    for source, target in SHIPPED.items():
        (tree / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(share / source, tree / target)
    unit = (share / "systemd/jingle-hnt.service").read_text()
    unit = unit.replace("\n[Service]\n", f"{CONDITION}\n[Service]\n")
    unit = unit.replace("LoadCredential=", f"{ENVIRONMENT}LoadCredential=")
    assert CONDITION in unit
    assert ENVIRONMENT in unit
    write(tree / "lib/systemd/system/jingle-hnt.service", unit)
    write(tree / "etc/default/jingle-hnt", (MATERIAL / "default").read_text())
    write(
        tree / "usr/share/lintian/overrides/jingle-hnt",
        (MATERIAL / "lintian-overrides").read_text(),
    )


def documents(libraries: Path, tree: Path, version: str) -> None:
    """Manual page, changelogs, copyright."""
    compressed(
        tree / "usr/share/man/man1/jingle-hnt.1.gz", (ROOT / "docs/man/jingle-hnt.1").read_text()
    )
    place = tree / "usr/share/doc/jingle-hnt"
    compressed(place / "changelog.gz", (ROOT / "CHANGELOG.md").read_text())
    entry = (
        f"jingle-hnt ({version}-1) stable; urgency=medium\n\n  * See changelog.gz.\n\n"
        f" -- {maintainer()}  {formatdate(timestamp())}\n"
    )
    compressed(place / "changelog.Debian.gz", entry)
    text = (MATERIAL / "copyright.in").read_text().replace("@LIBRARIES@\n", licences(libraries))
    write(place / "copyright", text)


def licences(libraries: Path) -> str:
    """A paragraph for each library, as its metadata have it."""
    found = []
    for file in sorted(libraries.glob("*.dist-info/METADATA")):
        metadata = email.message_from_string(file.read_text())
        if metadata["Name"] == "jingle-hnt":
            continue
        stem = file.parent.name.split("-")[0]
        who = re.sub(r"\s*<[^>]*>", "", metadata["Author"] or metadata["Author-email"] or "unknown")
        found.append(
            f"Files: opt/jingle-hnt/lib/python*/site-packages/{stem}*\nCopyright: {who}\n"
            f"License: {licence(metadata)}\n The text is in"
            f" /opt/jingle-hnt/lib/python*/site-packages/{stem}-*.dist-info.\n\n"
        )
    return "".join(found)


def licence(metadata: Message) -> str:
    """The licence that a library names, in a word that the format of copyright files takes."""
    named = metadata["License-Expression"] or (metadata["License"] or "").partition("\n")[0]
    if not named:
        classes = [c for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
        named = classes[0].rpartition(" :: ")[2].removesuffix(" License") if classes else "unknown"
    return f"{named.replace(' OR ', ' or ').replace(' AND ', ' and ')}"


def control(tree: Path, version: str, architecture: str) -> None:
    """What dpkg reads."""
    size = sum(file.lstat().st_size for file in tree.rglob("*") if not file.is_dir())
    values = {
        "VERSION": f"{version}-1",
        "ARCH": architecture,
        "MAINTAINER": maintainer(),
        "SIZE": str(-(-size // 1024)),
    }
    text = (MATERIAL / "control.in").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    sums = "".join(
        f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(tree)}\n"
        for file in sorted(tree.rglob("*"))
        if file.is_file() and not file.is_symlink()
    )
    write(tree / "DEBIAN/control", text)
    write(tree / "DEBIAN/md5sums", sums)
    for name in ("conffiles", "triggers"):
        write(tree / "DEBIAN" / name, (MATERIAL / name).read_text())
    for name in SCRIPTS:
        write(tree / "DEBIAN" / name, (MATERIAL / name).read_text(), 0o755)


def seal(tree: Path) -> None:
    """The modes and times of what is installed, so that the same sources make the same package."""
    for path in [tree, *tree.rglob("*")]:
        if path.is_symlink():
            continue
        runs = (
            path.is_dir()
            or path.parent.name == "bin"
            or path.name in ("postinst", "prerm", "postrm")
        )
        path.chmod(0o755 if runs else 0o644)
        os.utime(path, (timestamp(), timestamp()))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def compressed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def maintainer() -> str:
    """Who packages it, as Debian's tools are told."""
    mail = os.environ.get("DEBEMAIL")
    return f"{os.environ.get('DEBFULLNAME', 'jingle-hnt')} <{mail}>" if mail else MAINTAINER


def timestamp() -> int:
    """The time of the sources, where it is known."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


if __name__ == "__main__":
    sys.exit(main())

"""What is built of the project holds all that an installation needs."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
IN_WHEEL = (
    "jingle_hnt/share/prosody/mod_jingle_hnt.lua",
    "jingle_hnt/share/ejabberd/mod_jingle_hnt/mod_jingle_hnt.spec",
    "jingle_hnt/share/ejabberd/mod_jingle_hnt/src/mod_jingle_hnt.erl",
    "jingle_hnt/share/ejabberd/mod_jingle_hnt/conf/mod_jingle_hnt.yml",
    "jingle_hnt/share/jingle-hnt.toml",
    "jingle_hnt/share/systemd/jingle-hnt.service",
    "jingle_hnt/share/nftables/jingle-hnt.nft",
    "jingle_hnt/share/grafana/jingle-hnt.json",
    "jingle_hnt/share/prometheus/alerts.yml",
    "share/man/man1/jingle-hnt.1",
    "share/bash-completion/completions/jingle-hnt.bash",
    "share/zsh/site-functions/_jingle-hnt",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of the checkout."""
    out = tmp_path_factory.mktemp("sdist")
    words = ["-m", "build", "--no-isolation", "--sdist", "--outdir", str(out), str(ROOT)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    (made,) = out.glob("*.tar.gz")
    return made


@pytest.mark.timeout(300)
def test_the_source_distribution_makes_a_wheel_that_needs_no_checkout(
    source: Path, tmp_path: Path
) -> None:
    with tarfile.open(source) as archive:
        names = archive.getnames()
        assert not any("node_modules" in name for name in names)
        archive.extractall(tmp_path, filter="data")
    (tree,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for part in ("tests/conftest.py", "scripts/test", "config/prosody/mod_jingle_hnt.lua"):
        assert (tree / part).exists(), part
    words = ["-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(tree)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = archive.namelist()
        archive.extractall(tmp_path / "installed")
    missing = [name for name in IN_WHEEL if not any(h.endswith(name) for h in held)]
    assert missing == []
    assert not any("tests/" in name or "twins" in name for name in held)
    said = subprocess.run(
        [sys.executable, "-P", "-m", "jingle_hnt", "module", "prosody", "--into", tmp_path / "m"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "written" in said.stdout
    shipped = (ROOT / "config/prosody/mod_jingle_hnt.lua").read_bytes()
    assert (tmp_path / "m" / "mod_jingle_hnt.lua").read_bytes() == shipped

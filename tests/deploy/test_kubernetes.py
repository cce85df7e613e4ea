"""The example manifests: what the API takes, what the program takes, and what a pod may do."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from jingle_hnt.settings.file import load

ROOT = Path(__file__).parents[2]
FILE = ROOT / "config" / "kubernetes" / "jingle-hnt.yaml"
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all(FILE.read_text()))
VERSIONS = ("1.29", "the newest known")
"""ReadWriteOncePod is no beta any more since the first."""


def refusal(manifest: dict[str, Any], version: str) -> str:
    """What the API of that version has against it."""
    import kubernetes_validate  # half a second, which not every process of a test run needs

    named = version if version in VERSIONS[:1] else kubernetes_validate.latest_version()
    try:
        kubernetes_validate.validate(manifest, named, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_the_api_takes_it(manifest: dict[str, Any], version: str) -> None:
    assert refusal(manifest, version) == ""


def test_a_field_that_the_api_does_not_know_is_noticed() -> None:
    wrong = {**MANIFESTS[-1], "spec": {**MANIFESTS[-1]["spec"], "replica": 1}}
    assert "replica" in refusal(wrong, VERSIONS[-1])


def pod() -> dict[str, Any]:
    found: dict[str, Any] = MANIFESTS[-1]["spec"]["template"]["spec"]
    return found


def test_the_program_takes_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (container,) = pod()["containers"]
    for variable in container["env"]:
        text = str(variable.get("value", "")).replace("$(NODE_ADDRESS)", "10.0.0.9")
        monkeypatch.setenv(variable["name"], text)
    settings = load(tmp_path / "none.toml")
    assert settings.xmpp.server.startswith("prosody.")
    (interface,) = settings.relay.interfaces
    assert (str(interface.address), str(interface.advertise)) == ("10.0.0.9", "203.0.113.9")
    assert pod()["terminationGracePeriodSeconds"] > settings.stop.drain_s
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod()["volumes"]}
    assert set(mounts.values()) == volumes
    assert str(settings.xmpp.secret_file).startswith("/run/secrets/jingle-hnt/")
    assert {str(settings.state.directory), "/run/jingle-hnt"} <= set(mounts)


def test_the_pod_may_do_nothing_but_relay() -> None:
    (container,) = pod()["containers"]
    assert pod()["hostNetwork"] is True
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert MANIFESTS[-1]["spec"]["replicas"] == 1
    assert MANIFESTS[-1]["spec"]["strategy"] == {"type": "Recreate"}

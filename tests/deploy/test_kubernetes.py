"""The example manifests: what the API takes, what the program takes, and what a pod may do."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from jingle_hnt.settings.file import load

ROOT = Path(__file__).parents[2]
FILE = ROOT / "config" / "kubernetes" / "jingle-hnt.yaml"
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all(FILE.read_text()))
VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""ReadWriteOncePod is no beta any more since the first."""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_the_api_takes_it(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_field_that_the_api_does_not_know_is_noticed() -> None:
    wrong = {**MANIFESTS[-1], "spec": {**MANIFESTS[-1]["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


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

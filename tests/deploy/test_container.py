"""The image and the compose files: what a careful operator would look for in them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jingle_hnt.settings.file import load

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
BRIDGES = sorted((ROOT / "config" / "compose").glob("*/compose.bridge.yaml"))
COMPOSE = sorted((ROOT / "config" / "compose").glob("*/compose.yaml"))


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    users = re.findall(r"^USER (\d+):(\d+)$", final, re.MULTILINE)
    assert users == [("990", "990")]
    # Nothing is written by root after that.
    assert not re.search(r"^(RUN|COPY|ADD) ", final.partition("\nUSER ")[2], re.MULTILINE)


def test_every_image_is_of_a_named_version() -> None:
    named = [
        *instructions("ARG"),
        *(s["image"] for p in COMPOSE for s in read(p)["services"].values()),
    ]
    images = [name.partition("=")[2] or name for name in named if "/" in name or ":" in name]
    assert len(images) >= 5
    for image in images:
        tag = image.rpartition("/")[2].partition(":")[2]
        assert re.match(r"\d", tag), f"{image} needs a tag with a version"
    assert instructions("FROM") == ["${BASE} AS build", "${BASE}"]


def test_the_image_says_whether_it_is_well_and_how_to_stop_it() -> None:
    (check,) = instructions("HEALTHCHECK")
    assert 'CMD ["jingle-hnt", "status"]' in check
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert instructions("ENTRYPOINT") == ['["jingle-hnt"]']  # no shell between us and the signal


def test_no_range_is_exposed_and_no_secret_is_inside() -> None:
    assert instructions("EXPOSE") == []
    assert instructions("ADD") == []
    assert not re.search("secret|password", DOCKERFILE, re.IGNORECASE)


def test_package_lists_do_not_stay_and_nothing_is_recommended() -> None:
    for run in instructions("RUN"):
        assert run.count("apt-get install") == run.count("--no-install-recommends")
        assert ("apt-get update" in run) is ("rm -rf /var/lib/apt/lists/*" in run)


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.parent.name)
def test_the_container_may_do_nothing_but_relay(path: Path) -> None:
    service = read(path)["services"]["jingle-hnt"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "990:990"
    assert service["network_mode"] == "host"
    # A tmpfs would be anybody's, since podman knows no owner of one: /run/jingle-hnt is a volume.
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    (volumes,) = instructions("VOLUME")
    assert "/run/jingle-hnt" in json.loads(volumes)
    assert "jingle-hnt-state:/var/lib/jingle-hnt" in service["volumes"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.parent.name)
def test_secrets_are_files_that_are_not_in_the_repository(path: Path) -> None:
    compose = read(path)
    for service in compose["services"].values():
        assert service["secrets"]
        assert not re.search("secret|password", str(service.get("environment", "")), re.IGNORECASE)
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("./secrets/")
        assert not (path.parent / secret["file"]).exists()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config" / "compose").glob("*/jingle-hnt*.toml")), ids=lambda p: p.name
)
def test_the_configurations_beside_them_can_be_used(path: Path) -> None:
    settings = load(path)
    names = {f"/run/secrets/{name}" for name in read(path.parent / "compose.yaml")["secrets"]}
    assert str(settings.xmpp.secret_file) in names


@pytest.mark.parametrize("path", BRIDGES, ids=lambda path: path.parent.name)
def test_the_bridge_publishes_what_the_program_is_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = read(path)
    service = compose["services"]["jingle-hnt"]
    given = {"${DOMAIN:?the XMPP domain}": "example.org", "${DOMAIN}": "example.org"}
    given["auto=${ADDRESS:?the address that clients reach}"] = "172.28.0.2=203.0.113.9"
    for name, text in service["environment"].items():
        value = str(text)
        for variable, meant in given.items():
            value = value.replace(variable, meant)
        assert "$" not in value
        monkeypatch.setenv(name, value)
    settings = load(path.with_name("none.toml"))
    assert service["ports"] == [f"{settings.relay.ports}:{settings.relay.ports}/udp"]
    first, last = map(int, settings.relay.ports.split("-"))
    assert last - first + 1 == 16
    assert settings.xmpp.endpoint == (path.parent.name, 5347)
    subnet = compose["networks"]["hnt"]["ipam"]["config"][0]["subnet"]
    assert [str(network) for network in settings.xmpp.allow_plaintext_to] == [subnet]
    assert str(settings.xmpp.secret_file).removeprefix("/run/secrets/") in compose["secrets"]
    server = compose["services"][path.parent.name]
    assert not any("5347" in port for port in server["ports"])


@pytest.mark.parametrize("path", BRIDGES, ids=lambda path: path.parent.name)
def test_on_a_bridge_it_may_do_no_more(path: Path) -> None:
    here, there = (
        read(each)["services"]["jingle-hnt"] for each in (path, path.with_name("compose.yaml"))
    )
    for key in ("user", "read_only", "cap_drop", "security_opt", "tmpfs", "secrets"):
        assert here[key] == there[key], key


def test_the_image_is_made_for_the_architectures_that_wheels_are_made_for() -> None:
    target = json.loads((ROOT / "docker-bake.json").read_text())["target"]["jingle-hnt"]
    assert target["platforms"] == ["linux/amd64", "linux/arm64"]
    release = (ROOT / "scripts" / "release").read_text()
    assert re.findall(r"^    wheel (\w+) ", release, re.MULTILINE) == ["x86_64", "aarch64"]

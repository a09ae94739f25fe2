"""Dockerfiles and compose files: what they name is there, and nothing runs with more rights than it needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = sorted(ROOT.glob("Dockerfile.*"))


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines as one."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_built_of_what_is_there(dockerfile: Path) -> None:
    """Would fail if a copied file had moved, was kept out of the build, or an install ignored the tested versions."""
    steps = instructions(dockerfile)
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    for word, arguments in steps:
        if word == "COPY" and not arguments.startswith("--from"):
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source in kept, f".dockerignore leaves {source} out"
        if word == "RUN":
            for install in re.findall(r"uv pip install [^&;]*", arguments):
                assert "--constraints constraints.txt" in install or "--no-deps" in install, install
    assert [arguments for word, arguments in steps if word == "FROM"] == [
        "${PYTHON_IMAGE} AS builder",
        "${PYTHON_IMAGE}",
    ]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_have_no_rights_and_no_secrets(dockerfile: Path) -> None:
    """Would fail if a program ran as root, or a token became part of an image."""
    steps = instructions(dockerfile)
    final = steps[max(i for i, (word, _) in enumerate(steps) if word == "FROM") :]
    users = [arguments for word, arguments in final if word == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), "by number, so that Kubernetes sees that it is not root"
    words = [word for word, _ in final]
    assert {"HEALTHCHECK", "ENTRYPOINT", "LABEL"} <= {*words}
    for word, arguments in steps:
        if word in {"ENV", "ARG"}:
            assert not re.search(r"TOKEN|PASSWORD|SECRET|KEY", arguments), arguments


@pytest.mark.parametrize("file", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_hold_the_same_services(file: str) -> None:
    content = yaml.safe_load((DEPLOY / file).read_text())
    assert content["services"].keys() <= SERVICES.keys()
    assert set(content) - {"services", "volumes", "name"} == {key for key in content if key.startswith("x-")}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_made_of_what_is_there(name: str) -> None:
    """Would fail if a mounted file had moved: Docker would quietly make an empty folder in its place."""
    service = SERVICES[name]
    if "build" in service:
        folder = DEPLOY / service["build"]["context"]
        dockerfile = folder / service["build"]["dockerfile"]
        assert dockerfile.is_file()
        for argument in service["build"]["args"]:
            assert f"ARG {argument}=" in dockerfile.read_text()
    else:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"]), "of a version, not of the day"
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
    for other in service.get("depends_on", {}):
        assert other in SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service.get("ports", []))
    assert not [key for key in service.get("environment", {}) if re.search(r"PASSWORD|TOKEN|SECRET", key)]
    if name != "trainer":  # a run ends by itself
        assert {"test", "interval", "timeout"} <= service["healthcheck"].keys()


def test_prometheus_finds_the_labeler() -> None:
    """Would fail if the port of the metrics, the service's name or the file of alerts were no longer the same."""
    settings = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    [job] = settings["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    service, port = target.split(":")
    flags = SERVICES[service]["command"]
    assert flags[flags.index("--metrics-port") + 1] == port
    mounted = {volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{file}" for file in settings["rule_files"]} <= mounted
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]


def test_grafana_shows_the_dashboard() -> None:
    """Would fail if the dashboard were mounted where Grafana does not look, or its data came from nowhere."""
    folder = DEPLOY / "grafana/provisioning"
    [provider] = yaml.safe_load((folder / "dashboards/clip-labeler.yml").read_text())["providers"]
    [source] = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    assert Path(mounts["./grafana/clip-labeler.json"]).parent == Path(provider["options"]["path"])
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert (
        SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        == mounts["./grafana/clip-labeler.json"]
    )
    host, port = source["url"].removeprefix("http://").split(":")
    assert host in SERVICES
    assert SERVICES[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert source["isDefault"] is True

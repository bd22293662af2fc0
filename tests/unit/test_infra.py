"""The files under infra/, checked without Docker: their syntax, their references, and no secret among them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())


def test_compose_services_depend_on_services_that_exist() -> None:
    for name, service in COMPOSE["services"].items():
        assert service.keys() & {"image", "build"}, name
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"], f"{name} needs {needed}"


def test_compose_volumes_are_declared() -> None:
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / "infra" / source).exists(), f"{name}: {volume}"


def test_compose_publishes_ports_on_loopback_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_takes_every_secret_from_the_environment_file() -> None:
    text = (ROOT / "infra" / "compose.yaml").read_text()
    named = set(re.findall(r"\$\{([A-Z_0-9]+)", text))
    listed = set(re.findall(r"^([A-Z_0-9]+)=", (ROOT / "infra" / "env.example").read_text(), re.MULTILINE))
    assert named == listed
    assert re.findall(r"^[A-Z_0-9]+=(.+)$", (ROOT / "infra" / "env.example").read_text(), re.MULTILINE) == []


def test_dockerfile_copies_files_that_exist() -> None:
    instructions = re.sub(r"\\\n", " ", (ROOT / "infra" / "Dockerfile").read_text())
    copies = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", instructions, re.MULTILINE)
    assert copies
    for sources in copies:
        for source in sources.split():
            assert (ROOT / source).exists(), source


@pytest.mark.parametrize("script", ["infra/setup.sh", ".ci/run"])
def test_shell_scripts_parse(script: str) -> None:
    shell = (ROOT / script).read_text().splitlines()[0].rsplit("/", 1)[-1].removeprefix("env ").split()[-1]
    subprocess.run([shell, "-n", str(ROOT / script)], check=True)

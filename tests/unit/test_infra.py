"""The files under infra/, checked without Docker: their syntax, their references, and no secret among them."""

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from pipelines.settings import NO_TELEMETRY

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
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


def test_the_image_holds_every_folder_that_a_volume_of_its_user_is_mounted_on() -> None:
    made = {path for line in re.findall(r"install -d -o shoploom (.+)", DOCKERFILE) for path in line.split()}
    copied = f"{re.findall(r'^WORKDIR (.+)$', DOCKERFILE, re.MULTILINE)[-1]}/"
    assert "COPY --chown=shoploom . .\n" in DOCKERFILE
    mounted = {
        volume.split(":")[1]
        for service in COMPOSE["services"].values()
        if service["image"] == "shoploom:local"
        for volume in service.get("volumes", [])
        if volume.split(":")[0] in COMPOSE["volumes"]
    }
    assert mounted
    for target in mounted - made:
        assert target.startswith(copied), f"root would own {target}"
        name = target.removeprefix(copied)
        assert (ROOT / name).exists(), target
        assert not ignored_by_docker(name), target


def test_the_image_holds_nothing_that_git_ignores() -> None:
    folders = (ROOT, ROOT / ".dvc")
    for folder in folders:
        for line in (folder / ".gitignore").read_text().split():
            name = (folder / line.strip("/")).relative_to(ROOT)
            assert ignored_by_docker(str(name)), name
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in tracked if ignored_by_docker(name)] == []


def test_the_image_switches_telemetry_off() -> None:
    switched = set(re.findall(r"\b(\w+=\S+)", " ".join(re.findall(r"^ENV (.+)$", INSTRUCTIONS, re.MULTILINE))))
    assert {f"{name}={value}" for name, value in NO_TELEMETRY.items()} <= switched


def ignored_by_docker(name: str) -> bool:
    """Whether a pattern of the ignore file (``**/`` is any depth) keeps a path out of the build."""
    lines = (ROOT / "infra" / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    parents = [name, *map(str, Path(name).parents)]
    return any(
        fnmatch(part.rsplit("/", 1)[-1] if pattern.startswith("**/") else part, pattern.removeprefix("**/"))
        for pattern in patterns
        for part in parents
    )


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
    copies = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", INSTRUCTIONS, re.MULTILINE)
    assert copies
    for sources in copies:
        for source in sources.split():
            assert (ROOT / source).exists(), source


@pytest.mark.parametrize("script", ["infra/setup.sh", ".ci/run"])
def test_shell_scripts_parse(script: str) -> None:
    shell = (ROOT / script).read_text().splitlines()[0].rsplit("/", 1)[-1].removeprefix("env ").split()[-1]
    subprocess.run([shell, "-n", str(ROOT / script)], check=True)


def test_setup_says_why_uv_could_not_be_fetched_and_leaves_nothing(tmp_path: Path) -> None:
    clone, fake = tmp_path / "clone", tmp_path / "fake"
    shutil.copytree(ROOT / "infra", clone / "infra")
    fake.mkdir()
    (fake / "pip.py").write_text("import sys; sys.exit('no route to the index')")
    (fake / "dirname").symlink_to(str(shutil.which("dirname")))
    environment = {"PATH": str(fake), "PYTHON": sys.executable, "PYTHONPATH": str(fake)}
    shell = str(shutil.which("sh"))
    ended = subprocess.run([shell, "infra/setup.sh"], cwd=clone, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("no route to the index\ncould not fetch uv: ")
    assert [path.name for path in clone.iterdir()] == ["infra"]

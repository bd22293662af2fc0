import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from pipelines.errors import ConfigError
from pipelines.models.found import models
from pipelines.params import SECTIONS, Section, WindowParams, check_params, load_params

ROOT = Path(__file__).parents[2]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def test_params_are_read_and_typed(tmp_path: Path) -> None:
    path = write(tmp_path, "window: {test_partitions: 2}")
    assert load_params(WindowParams, "window", path).test_partitions == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("windw: {}", r"no section 'window'\n  -> did you mean 'windw'"),
        ("window: {test_partitons: 2}", r"window\.test_partitons.*\n  -> did you mean 'test_partitions'"),
        ("window: {test_partitions: 0}", r"window\.test_partitions: Input should be greater than"),
        ("window: [", r"is not YAML"),
        ("window", r"must be a mapping of sections"),
        ("window: 6", r"params\.yaml: window: Input should be a valid dictionary"),
    ],
)
def test_params_say_what_is_wrong_and_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_params(WindowParams, "window", write(tmp_path, text))


def test_check_params_meets_a_slip_in_any_section_and_passes_over_others() -> None:
    check_params((ROOT / "params.yaml").read_bytes())
    check_params(b"window: {test_partitions: 2}\nown_stage: {anything: 1}\n")
    with pytest.raises(ConfigError, match=r"gate\.alfa.*\n  -> did you mean 'alpha'"):
        check_params(b"gate: {alfa: 0.1}")
    with pytest.raises(ConfigError, match=r"is not YAML"):
        check_params(b"gate: \xff")


def test_every_class_of_a_section_is_in_the_register() -> None:
    own = {kind for kind in Section.__subclasses__() if kind.__module__ == "pipelines.params"}
    assert set(SECTIONS.values()) == own
    assert set(SECTIONS) <= set(yaml.safe_load((ROOT / "params.yaml").read_text()))


def test_params_libraries_are_the_locked_and_installed_ones() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    for library, chosen in yaml.safe_load((ROOT / "params.yaml").read_text())["libraries"].items():
        assert re.search(rf"^{re.escape(library)}=={re.escape(chosen)}( |$)", lock, re.MULTILINE), library
        assert version(library) == chosen


def test_every_stage_has_its_own_section_and_module() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    sections = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, stage in stages.items():
        trained = [model for model, kind in models().items() if kind.stage == name]
        if (ROOT / "pipelines" / "stages" / f"{name}.py").is_file():
            assert stage["cmd"] == f"python -m pipelines.stages.{name}"
        else:
            assert len(trained) == 1, f"stage {name} has no module of its own, and {trained or 'no model'} names it"
            assert stage["cmd"] == f"python -m pipelines.stages.train {trained[0]}"
        assert name in sections, f"params.yaml has no section {name}"


def test_lock_pins_hashes_and_names_no_host_and_no_torch() -> None:
    for path in (ROOT / "requirements.lock", ROOT / "infra" / "uv.lock"):
        lock = path.read_text()
        assert "://" not in lock
        assert not re.search(r"^torch==", lock, re.MULTILINE)
        for entry in re.split(r"\n(?=\S)", lock):
            if "==" in entry.split("\n")[0]:
                assert "--hash=sha256:" in entry

"""Which models a run trains: read, checked, and chosen for one run without touching the user's file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines.chosen import check_chosen, chosen_models, named_models, with_models
from pipelines.errors import ConfigError
from pipelines.models import found
from pipelines.models.base import Model

ROOT = Path(__file__).parents[2]
PARAMS = (ROOT / "params.yaml").read_bytes()


def test_models_are_found_without_a_list() -> None:
    modules = {path.stem for path in (ROOT / "pipelines/models").glob("*.py")}
    assert {"matrix_factorization", "linear", "repeat", "text", "fused"} <= set(found.models()) <= modules
    assert list(found.models()) == sorted(found.models())
    assert all(issubclass(kind, Model) and kind.stage for kind in found.models().values())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("linaer", r"no model 'linaer'\n  -> did you mean 'linear'"),
        ("popularity", r"no model 'popularity'"),
        (" ,", r"' ,' names no model\n  -> models: all, or of "),
        ("fused,text", r"'fused' builds on 'matrix_factorization'.*\n  -> choose matrix_factorization too"),
    ],
)
def test_a_wrong_choice_is_answered_with_near_names(wanted: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        named_models(wanted)


def test_all_names_every_model_and_names_come_in_order() -> None:
    assert named_models("all") == tuple(found.models())
    assert named_models("text, linear,text") == ("linear", "text")


def test_choosing_models_changes_their_section_and_nothing_else() -> None:
    written = with_models(PARAMS, "repeat")
    before, after = yaml.safe_load(PARAMS), yaml.safe_load(written)
    assert [name for name, on in after["models"].items() if on] == ["repeat"]
    assert {**after, "models": None} == {**before, "models": None}
    assert b"# fuel is sold by the thousandth" in written
    assert with_models(written, "repeat") == written


@pytest.mark.parametrize("content", [b"seed: {value: 7}", b"models: {linear: false}\nseed: {value: 7}\n", b""])
def test_choosing_models_writes_the_section_however_it_was_written(content: bytes) -> None:
    after = yaml.safe_load(with_models(content, "linear"))
    assert after.pop("models")["linear"] is True
    assert after == ({"seed": {"value": 7}} if content else {})


def test_a_section_that_cannot_be_replaced_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be replaced"):
        with_models(b"{models: {linear: false},\n seed: {value: 7}}\n", "linear")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{linear: yes please}", r"models\.linear: 'yes please' is not true or false"),
        ("{liner: true}", r"no model 'liner'\n  -> did you mean 'linear'"),
        ("[linear]", r"no section 'models' of names"),
        ("{fused: true}", r"'fused' builds on"),
    ],
)
def test_a_slip_in_the_section_is_met_before_the_first_stage(section: str, message: str, tmp_path: Path) -> None:
    content = f"models: {section}\n"
    with pytest.raises(ConfigError, match=message):
        check_chosen(content.encode())
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        chosen_models(tmp_path / "params.yaml")


def test_a_model_s_settings_are_checked_before_the_first_stage() -> None:
    check_chosen(PARAMS)
    with pytest.raises(ConfigError, match=r"train_mf\.factor:.*\n  -> did you mean 'factors'"):
        check_chosen(b"train_mf: {factor: 3}\n")

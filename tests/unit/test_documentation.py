"""Every stage, parameter and setting is documented: beside its declaration, and in README."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from pipelines import params
from pipelines.models import found
from pipelines.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CHOSEN = yaml.safe_load((ROOT / "params.yaml").read_text())
SECTIONS = {**params.SECTIONS, **found.sections()}


def undescribed(path: Path) -> list[str]:
    """``Class.field`` of every annotated field of a module's classes that no docstring follows."""
    found = []
    for kind in (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)):
        for field, following in zip(kind.body, [*kind.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and not (
                isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            ):
                found.append(f"{kind.name}.{ast.unparse(field.target)}")
    return found


@pytest.mark.parametrize("module", ["params", "settings"])
def test_every_field_says_what_it_means(module: str) -> None:
    assert undescribed(ROOT / "pipelines" / f"{module}.py") == []


@pytest.mark.parametrize("section", found.sections())
def test_every_setting_of_a_model_says_what_it_means(section: str) -> None:
    kind = found.sections()[section]
    path = ROOT.joinpath(*kind.__module__.split(".")).with_suffix(".py")
    assert [name for name in undescribed(path) if name.startswith(f"{kind.__name__}.")] == []


def test_params_yaml_names_every_parameter_and_no_other() -> None:
    assert SECTIONS.keys() == CHOSEN.keys() - {"libraries", "models"}
    for section, kind in SECTIONS.items():
        assert CHOSEN[section].keys() == kind.model_fields.keys(), section
        assert kind.__doc__, section


def test_defaults_are_what_params_yaml_chose_but_for_what_the_shop_decides() -> None:
    of_the_shop = {("validate", "max_quantity")}
    for section, kind in SECTIONS.items():
        chosen, default = kind.model_validate(CHOSEN[section]), kind()
        differing = {(section, name) for name in kind.model_fields if getattr(chosen, name) != getattr(default, name)}
        assert differing <= of_the_shop


def test_params_yaml_says_of_every_model_whether_it_is_chosen() -> None:
    assert CHOSEN["models"].keys() == found.models().keys()


def test_every_model_has_its_row_in_the_models_readme() -> None:
    rows = (ROOT / "pipelines" / "models" / "README.md").read_text().splitlines()
    answer = {True: "yes", False: "no"}
    for name, kind in found.models().items():
        ending = f"| `{kind.stage}` | {answer[kind.serves.cold_users]} | {answer[kind.serves.cold_items]} |"
        told = [row for row in rows if row.startswith(f"| `{name}` |") and row.endswith(ending)]
        assert told, f"pipelines/models/README.md lacks a row '| `{name}` | what it learns {ending}'"


def test_readme_names_every_section_and_stage() -> None:
    for section in CHOSEN:
        assert f"`{section}`" in README, f"README does not mention section {section}"
    picture = README.split("```")[1]
    for stage, declared in STAGES.items():
        assert stage in picture, f"README's picture lacks {stage}"
        assert declared.get("desc"), f"dvc.yaml does not describe {stage}"


def test_readme_names_every_setting_and_no_other() -> None:
    fields = Settings.model_fields.items()
    variables = {str(field.validation_alias or f"SHOPLOOM_{name.upper()}") for name, field in fields}
    assert set(re.findall(r"SHOPLOOM_[A-Z_]+", README)) == variables | {"SHOPLOOM_NO_CACHE"}

"""``dvc.yaml`` against the code: a stage depends on every first-party module that it imports, and on no other."""

import ast
from pathlib import Path

import pytest
import yaml

from pipelines.models.found import models

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipelines", "expectations", "dags")
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def module_file(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def with_parents(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if is_type_checking(node):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    first_party = {name for name in found if name.split(".")[0] in PACKAGES}
    return {part for name in first_party if module_file(name) for part in with_parents(name)}


def import_closure(module: str) -> set[str]:
    closure: set[str] = set()
    pending = with_parents(module)
    while pending:
        name = pending.pop()
        if name not in closure:
            closure.add(name)
            path = module_file(name)
            assert path is not None
            pending |= imports(path)
    return {str(path.relative_to(ROOT)) for name in closure if (path := module_file(name)) and path.stat().st_size}


def stage_closure(stage: str) -> set[str]:
    """Files that a stage runs, the models that it finds by name included."""
    module, *arguments = STAGES[stage]["cmd"].removeprefix("python -m ").split()
    closure = import_closure(module)
    named = [*arguments, *(models() if "pipelines/models/found.py" in closure else ())]
    return closure.union(*(import_closure(f"pipelines.models.{name}") for name in named))


@pytest.mark.parametrize("stage", STAGES)
def test_stage_deps_are_its_import_closure(stage: str) -> None:
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    closure = stage_closure(stage)
    absent, idle = sorted(closure - declared), sorted(declared - closure)
    assert declared == closure, f"{stage}'s deps: add {absent}; it imports none of {idle}"


def test_only_evaluate_reads_the_test_window() -> None:
    readers = [name for name, stage in STAGES.items() if "data/prepared/test.parquet" in stage["deps"]]
    assert readers == ["evaluate"]

"""Our reader of dvc.yaml against DVC's own graph, on random pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dags.dvc_graph import read_graph
from pipelines.errors import GraphError

PATHS = ["a", "b", "a/x", "a/y", "b/x", "b/x/deep", "ab", "c.txt", "d/", "./e", "f/../g", "g"]
NAMES = ["prepare", "embed", "train_mf", "rank", "evaluate"]

paths = st.lists(st.sampled_from(PATHS), max_size=3, unique=True)
produced = st.lists(
    st.one_of(st.sampled_from(PATHS), st.sampled_from(PATHS).map(lambda path: {path: {"desc": "d"}})),
    max_size=2,
    unique_by=lambda entry: entry if isinstance(entry, str) else next(iter(entry)),
)
stages = st.fixed_dictionaries(
    {"cmd": st.sampled_from(["echo 1", ["echo 1", "echo 2"]]), "deps": paths},
    optional={
        "outs": produced,
        "metrics": produced,
        "plots": produced,
        "params": st.just(["seed"]),
        "desc": st.text(max_size=5),
    },
)
pipelines = st.dictionaries(st.sampled_from(NAMES), stages, min_size=1, max_size=5)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dvc.repo import Repo

    root = tmp_path_factory.mktemp("pipeline")
    Repo.init(str(root), no_scm=True).close()
    (root / "params.yaml").write_text("seed: 1\n", encoding="utf-8")
    return root


def edges_by_dvc(repository: Path) -> set[tuple[str, str]] | str:
    """(stage, upstream stage) pairs as DVC sees them, or the name of the error it raises."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Repo(str(repository)) as repo:
        try:
            return {(stage.name, upstream.name) for stage, upstream in repo.index.graph.edges}
        except DvcException as error:
            return type(error).__name__


def edges_by_reader(repository: Path) -> set[tuple[str, str]] | None:
    try:
        graph = read_graph(repository / "dvc.yaml")
    except GraphError:
        return None
    seen: set[str] = set()
    for stage in graph:
        assert set(stage.upstream) <= seen, "a stage comes before one that it reads from"
        seen.add(stage.name)
    return {(stage.name, upstream) for stage in graph for upstream in stage.upstream}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(declared=pipelines)
def test_reader_agrees_with_dvc_on_edges_and_refusals(repository: Path, declared: dict[str, Any]) -> None:
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"stages": declared}, sort_keys=False), encoding="utf-8")
    theirs, ours = edges_by_dvc(repository), edges_by_reader(repository)
    if isinstance(theirs, str):
        assert ours is None, f"DVC refuses this ({theirs}) and the reader does not"
    else:
        assert ours == theirs

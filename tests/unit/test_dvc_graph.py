"""Reading dvc.yaml: what is refused is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dags.dvc_graph import read_graph
from pipelines.errors import GraphError


def graph(tmp_path: Path, text: str):
    path = tmp_path / "dvc.yaml"
    path.write_text(text, encoding="utf-8")
    return read_graph(path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stages: {a: {foreach: [1], do: {cmd: x}}}", "'foreach'"),
        ("stages: {a: {matrix: {x: [1]}, cmd: x}}", "'matrix'"),
        ("stages: {a: {cmd: x, wdir: sub}}", "'wdir'"),
        ("stages: {a: {cmd: x, vars: [v.yaml]}}", "'vars'"),
        ("vars: [{x: 1}]", "'vars'"),
        ("datasets: []", "'datasets'"),
        ("stages: {a: {cmd: x, always_changed: true}}", "'always_changed'"),
        ("stages: {a: {cmd: x, frozen: true}}", "'frozen'"),
        ("stages: {a: {cmd: 'x ${lr}'}}", "'${...}'"),
        ("stages: {a: {cmd: x, outs: ['${folder}/a']}}", "'${...}'"),
        ("stages: {a: {cmd: x, outs: [b: {persist: true}]}}", "'persist'"),
        ("stages: {a: {cmd: x, outs: [b: {push: false}]}}", "'push'"),
        ("stages: {a: {cmd: x, params: [other.yaml: [k]]}}", "only keys of params.yaml"),
        ("stages: {a: {cmd: x, deps: ['../b']}}", "'../b'"),
        ("stages: {a: {cmd: x, deps: ['s3://b/c']}}", "'s3://b/c'"),
        ("stages: {a: {cmd: x, deps: [/b]}}", "'/b'"),
        ("stages: {a: {outs: [b]}}", "'cmd'"),
        ("stages: {a-b: {cmd: x}}", "'a-b'"),
        ("stages: {a: {cmd: x}, a: {cmd: y}}", "'a' appears twice"),
        ("stages: [a]", "'stages' must be a mapping"),
        ("stages: {a: {cmd: x, outs: [.]}}", "params.yaml"),
        ("stages: {a: {cmd: x", "is not YAML"),
        ("stages: {[a]: {cmd: x}}", "a key must be plain text"),
        ("stages: &all {a: *all}", "an alias refers to what holds it"),
        ("stages: " + "[" * 2000, "is nested too deeply"),
        ("stages: {a: {cmd: x, outs: [d]}, b: {cmd: x, outs: [d/e]}}", "overlaps"),
        ("stages: {a: {cmd: x, deps: [c], outs: [b]}, b: {cmd: x, deps: [b], outs: [c]}}", "wait for one another"),
        ("stages: {a: {cmd: x, deps: [b], outs: [b]}}", "wait for one another: 'a'"),
        ("stages: {a: {cmd: x, metrics: [m: {cache: false}]}, b: {cmd: x, deps: [m]}}", "does not cache"),
    ],
)
def test_read_graph_refuses_by_name_what_cannot_be_rendered(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(GraphError) as refused:
        graph(tmp_path, text)
    assert named in refused.value.message
    assert refused.value.mend


def test_read_graph_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"dvc\.yaml cannot be read"):
        read_graph(tmp_path / "dvc.yaml")


def test_read_graph_connects_stages_by_path_containment(tmp_path: Path) -> None:
    read = graph(
        tmp_path,
        """
        stages:
          evaluate: {cmd: e, deps: [data/rank/ranker, data/prepare.txt], metrics: [m.json: {cache: false}]}
          rank: {cmd: [r, s], deps: [data/prepared/], outs: [data/rank], params: [rank, params.yaml: [seed]]}
          prepare: {cmd: p, deps: [raw], outs: [data/prepared/items, ./data/prepared/users], desc: Clean.}
        """,
    )
    assert [(stage.name, stage.upstream) for stage in read] == [
        ("prepare", ()),
        ("rank", ("prepare",)),
        ("evaluate", ("rank",)),
    ]
    assert read["rank"].cmd == ("r", "s")
    assert read["rank"].params == ("rank", "seed")
    assert read["prepare"].outs == ("data/prepared/items", "data/prepared/users")
    assert read["prepare"].description == "Clean."
    assert read["evaluate"].uncached == ("m.json",)


def test_read_graph_changes_its_digest_with_the_file(tmp_path: Path) -> None:
    before = graph(tmp_path, "stages: {a: {cmd: x}}").digest
    assert graph(tmp_path, "stages: {a: {cmd: x}}").digest == before
    assert graph(tmp_path, "stages: {a: {cmd: x}} # changed").digest != before


def test_graph_suggests_near_stage_names(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="did you mean 'prepare'"):
        _ = graph(tmp_path, "stages: {prepare: {cmd: x}}")["prepar"]

"""Lineage both ways on a real repository, object store and registry, and what is shown where something is gone."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from pipelines.cli import main
from pipelines.errors import ConfigError, RegistryError, RunError
from pipelines.lineage.ask import Lineage, draw, lineage_of, prove_row, refuse_gaps
from pipelines.lineage.audit import log_path, record
from pipelines.lineage.card import records_of
from pipelines.lineage.graph import ModelLineage
from pipelines.lineage.served import ServedLineage
from pipelines.lineage.trace import PartitionLineage
from pipelines.pseudonyms import open_ring
from pipelines.registry.store import CHAMPION, MODEL, connect
from pipelines.runs.objects import object_path, read_listing
from pipelines.runs.start import STARTS
from pipelines.runs.store import remove
from pipelines.serving.state import State, StateError
from pipelines.serving.state.answered import Answered
from pipelines.settings import child_environment
from pipelines.sources.raw_files import Origins, RawFile, write_origins
from tests.lineage_shop import make_lineage_shop, register_run, train
from tests.toy_pipeline import Shop

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shop(tmp_path: Path, mlflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return make_lineage_shop(tmp_path, mlflow_home, monkeypatch)


def model(shop: Shop, name: str) -> ModelLineage:
    found = lineage_of(shop.settings, f"model:{name}")
    assert isinstance(found, ModelLineage)
    return found


def partition(shop: Shop, name: str) -> PartitionLineage:
    found = lineage_of(shop.settings, f"partition:{name}")
    assert isinstance(found, PartitionLineage)
    return found


def drawn(found: Lineage) -> str:
    stream = io.StringIO()
    draw(found, Console(file=stream, width=160))
    return stream.getvalue()


def test_lineage_of_a_model_and_of_a_partition_agree_on_what_touched_what(shop: Shop) -> None:
    first_data = shop.land(1, 2, 3)
    first = train(shop, "r1")
    second_data = shop.land(3, 4, rows=9)
    second = train(shop, "r2")
    versions = [register_run(shop, first, "r1"), register_run(shop, second, "r2")]
    connect(shop.settings).set_registered_model_alias(MODEL, CHAMPION, versions[1])
    record(shop.settings, "promote", f"version {versions[0]}")
    record(shop.settings, "promote", f"version {versions[1]}")

    found = model(shop, "champion")
    assert (found.version.version, found.run and found.run.commit) == (versions[1], second.commit)
    assert (found.code["commit"], found.data["commit"]) == (second.code_commit, second_data.commit)
    assert found.environment["libraries"] == {"numpy": "2.4.6"}
    assert [stage.name for stage in found.stages] == ["sizes", "total"]
    assert found.stages[0].params == {"factor": 2}
    assert [(read.path, read.made_by) for read in found.stages[1].inputs] == [
        ("data/champion/champion.json", "data/champion.dvc"),
        ("data/sizes", "sizes"),
    ]
    told = {one.name: (one.part, one.landed, one.accepted, one.quarantined) for one in found.partitions}
    assert told == {
        "2017-W01": ("history", first_data.commit, 3, 1),
        "2017-W02": ("history", first_data.commit, 3, 1),
        "2017-W03": ("validation", second_data.commit, 3, 1),
        "2017-W04": ("test", second_data.commit, 3, 1),
    }
    assert found.missing == ()
    assert json.loads(json.dumps(found.to_dict()))["version"]["version"] == versions[1]

    changed, old = partition(shop, "2017-W03"), partition(shop, "2017-W01")
    assert [content.landed for content in changed.contents] == [first_data.commit, second_data.commit]
    assert {run.commit: run.part for run in changed.runs} == {first.commit: "test", second.commit: "validation"}
    assert len({run.md5 for run in changed.runs}) == 2
    assert changed.outputs["data/total.txt"] == "total"
    assert [model.version for run in old.runs for model in run.models] == versions[::-1]
    assert [(reign.version, reign.end is None) for reign in old.reigns] == [(versions[0], False), (versions[1], True)]
    assert partition(shop, "2017-W04").reigns[0].version == versions[1]
    assert "validation of the run" in drawn(changed)
    assert "-> data/total.txt" in drawn(found)


def test_lineage_ends_in_the_shops_own_files(shop: Shop) -> None:
    shop.land(1, 2)
    till = RawFile("till/2017.csv.gz", 1234, "b" * 64)
    write_origins(Origins({f"events/2017-W{week:02}.parquet": (till,) for week in (2, 3, 4)}), shop.landing)
    shop.land(2, 3, 4, rows=9)
    version = register_run(shop, train(shop, "r1"), "r1")
    found = model(shop, version)
    assert {one.name: one.files for one in found.partitions} == {
        "2017-W01": None, "2017-W02": (till,), "2017-W03": (till,), "2017-W04": (till,),
    }  # fmt: skip
    assert "till/2017.csv.gz  sha256 bbbbbbbbbbbb, 1,234 bytes, in 3 partitions" in drawn(found)
    assert "of 1 partitions it was not noted" in drawn(found)
    changed = partition(shop, "2017-W02")
    assert [content.files for content in changed.contents] == [None, (till,)]
    assert "<- till/2017.csv.gz" in drawn(changed)


def test_lineage_names_what_is_near_where_there_is_no_such_thing(shop: Shop) -> None:
    with pytest.raises(RunError, match="no data version holds partition '2017-W01'"):
        lineage_of(shop.settings, "partition:2017-W01")
    shop.land(1, 2)
    untouched = partition(shop, "2017-W02")
    assert (untouched.runs, untouched.reigns, untouched.missing) == ((), (), ())
    for target, kind, mend in (
        ("partition:2017-W03", RunError, "2017-W02"),
        ("modell:1", ConfigError, "model"),
        ("model", ConfigError, "model:NAME"),
        ("model:1", RegistryError, "shoploom run"),
    ):
        with pytest.raises(kind) as refused:
            lineage_of(shop.settings, target)
        assert mend in str(refused.value)


def test_lineage_shows_what_is_left_and_says_the_mend_where_something_is_gone(shop: Shop) -> None:
    shop.land(1, 2, 3)
    run = train(shop, "r1")
    version, older = register_run(shop, run, "r1"), register_run(shop, None)

    by_an_older_shoploom = model(shop, older)
    assert by_an_older_shoploom.stages == ()
    with pytest.raises(RunError, match="older shoploom"):
        refuse_gaps(by_an_older_shoploom.missing)

    shop.git.delete_ref(run.ref, run.commit)
    kept = model(shop, version)
    assert [stage.name for stage in kept.stages] == ["sizes", "total"]
    with pytest.raises(RunError, match="was deleted") as refused:
        refuse_gaps(kept.missing)
    shop.git.run(*refused.value.mend.split()[1:])
    assert model(shop, version).missing == ()

    for place in ("cache", "remote"):
        remove(shop.settings.home / place)
    lost = model(shop, version)
    assert [stage.name for stage in lost.stages] == ["sizes", "total"]
    assert {gap.what.split(":")[0] for gap in lost.missing} == {
        "data/validate/report.json",
        "data/prepared/split.json",
        "events",
    }
    assert "not shown: events: the list of its partitions is lost" in drawn(lost)

    for ref in ("refs/shoploom", STARTS):
        for name, commit in shop.git.refs(ref).items():
            shop.git.delete_ref(name, commit)
    shop.git.run("reflog", "expire", "--expire=now", "--all")
    shop.git.run("gc", "--quiet", "--prune=now")
    bare = model(shop, version)
    assert "only the registry is shown" in bare.missing[0].what
    assert bare.data["commit"] == run.data_commit


def test_lineage_of_an_answer_names_who_let_its_model_out_and_what_that_was_made_of(shop: Shop) -> None:
    shop.land(1, 2, 3)
    run = train(shop, "r1")
    version = register_run(shop, run, "r1", override="the shop opens tomorrow")
    entry = record(shop.settings, "promote", f"version {version}")
    state = State.open(shop.settings.serving_state, open_ring(shop.settings.home))
    noted = Answered("r-1", "/search", version, run.commit, datetime.now(UTC))
    lost = Answered("r-2", "/search", "9", run.commit, datetime.now(UTC))
    other = Answered("r-3", "/search", version, "f" * 40, datetime.now(UTC))
    state.answers.append([noted, lost, other])
    state.close()

    found = served(shop, "r-1")
    (answer,) = found.answers
    assert (answer.version, answer.run_commit, answer.override) == (version, run.commit, "the shop opens tomorrow")
    assert answer.reign is not None
    assert answer.reign.actor == entry.actor
    assert [model.run and model.run.commit for model in found.models] == [run.commit]
    assert found.missing == ()
    said = drawn(found)
    for told in ("override  the shop opens tomorrow", "2017-W03", f"promote by {entry.actor}", "-> data/total.txt"):
        assert told in said
    assert json.loads(json.dumps(found.to_dict()))["models"][0]["version"]["version"] == version

    gone = served(shop, "r-2")
    assert [model.run and model.run.commit for model in gone.models] == [run.commit]
    with pytest.raises(RunError, match="version 9 is not in the registry"):
        refuse_gaps(gone.missing)
    assert "-> data/total.txt" in drawn(gone)
    with pytest.raises(RunError, match=f"noted run ffffffffffff for version {version}"):
        refuse_gaps(served(shop, "r-3").missing)


def test_lineage_tells_git_s_copy_of_the_history_where_the_audit_log_is_lost(shop: Shop) -> None:
    shop.land(1, 2, 3)
    version = register_run(shop, train(shop, "r1"), "r1")
    record(shop.settings, "promote", f"version {version}")
    log_path(shop.settings).unlink()
    found = partition(shop, "2017-W01")
    assert [reign.version for reign in found.reigns] == [version]
    with pytest.raises(RunError, match="is lost; what git has a copy of is told") as refused:
        refuse_gaps(found.missing)
    assert "shoploom audit restore" in refused.value.mend
    card = records_of(shop.settings, version)
    assert [entry.action for entry in card.entries] == ["promote"]
    assert any("is lost; what git has a copy of is told" in gap.what for gap in card.missing)


def test_lineage_of_an_answer_says_so_where_there_is_no_record(shop: Shop) -> None:
    with pytest.raises(StateError, match="there is no such file"):
        lineage_of(shop.settings, "served:r-1")
    State.open(shop.settings.serving_state, open_ring(shop.settings.home)).close()
    with pytest.raises(RunError, match="has no answer 'r-1'") as refused:
        lineage_of(shop.settings, "served:r-1")
    assert "SHOPLOOM_ANSWERS_DAYS" in refused.value.mend


def served(shop: Shop, request_id: str) -> ServedLineage:
    found = lineage_of(shop.settings, f"served:{request_id}")
    assert isinstance(found, ServedLineage)
    return found


def test_lineage_command_prints_json_or_a_page_and_ends_with_an_error_where_it_is_not_whole(
    shop: Shop, tmp_path: Path
) -> None:
    shop.land(1, 2, 3)
    version = register_run(shop, train(shop, "r1"), "r1")
    whole = CliRunner().invoke(
        main, ["lineage", f"model:{version}", "--json"], env={"SHOPLOOM_REPOSITORY": str(shop.settings.repository)}
    )
    assert whole.exit_code == 0, whole.output
    assert json.loads(whole.stdout)["run"]["run_id"] == "r1"
    file = tmp_path / "graph.html"
    for target, names in ((f"model:{version}", ["sizes", "Run", "events: history"]), ("partition:2017-W02", ["Run"])):
        asked = ["lineage", target, "--html", str(file)]
        drawn_page = CliRunner().invoke(main, asked, env={"SHOPLOOM_REPOSITORY": str(shop.settings.repository)})
        assert (drawn_page.exit_code, drawn_page.stdout) == (0, ""), drawn_page.output
        assert all(name in file.read_text() for name in [*names, f"Model version {version}"])
    older = register_run(shop, None)
    cut = CliRunner().invoke(
        main, ["lineage", f"model:{older}"], env={"SHOPLOOM_REPOSITORY": str(shop.settings.repository)}
    )
    assert cut.exit_code == 1
    assert "model version 2" in cut.stdout
    assert "what is shown is not whole" in cut.stderr


def test_lineage_is_told_without_importing_mlflow_which_takes_longer_than_all_of_it(shop: Shop) -> None:
    shop.land(1, 2, 3)
    version = register_run(shop, train(shop, "r1"), "r1")
    told = (
        "import sys; from pipelines.cli import main\n"
        f"main(['lineage', 'model:{version}', '--json'], standalone_mode=False)\n"
        "sys.exit(', '.join({'mlflow', 'sqlalchemy', 'dvc'} & sys.modules.keys()) or None)"
    )
    environment = child_environment(shop.settings)
    done = subprocess.run([sys.executable, "-c", told], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["version"]["version"] == version


def test_row_is_proved_in_or_out_and_refused_where_the_tree_was_changed(shop: Shop) -> None:
    shop.land(1, 2, 3)
    run = train(shop, "r1")
    version, older = register_run(shop, run, "r1"), register_run(shop, None)
    assert len(run.training_root) == 64
    trained, tested = (prove_row(shop.settings, f"model:{version}", event) for event in ("2-1", "3-1"))
    assert (trained.proof.present, tested.proof.present, trained.proof.count) == (True, False, 8)
    assert trained.proof.root == run.training_root
    assert f"Shoploom-Training-Root: {run.training_root}" in shop.git.message(run.commit)
    for target, message in ((f"model:{older}", "older shoploom"), ("partition:2017-W01", "is no model")):
        with pytest.raises((RunError, ConfigError), match=message):
            prove_row(shop.settings, target, "2-1")
    levels = next(path for path in map(Path, _cached(shop, "data/seal/tree")) if path.stat().st_size == 3 * 32)
    levels.chmod(0o644)
    levels.write_bytes(bytes(3 * 32))
    with pytest.raises(RunError, match="does not give the root"):
        prove_row(shop.settings, f"model:{version}", "2-1")


def _cached(shop: Shop, path: str) -> list[str]:
    out = next(out for out in shop.entries["sizes"]["outs"] if out["path"] == path)
    return [str(object_path(shop.settings, md5)) for md5 in read_listing(shop.settings, out["md5"]).values()]

"""Data versions, starts, stages and run commits on a real git repository and real DVC: a toy pipeline of two stages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from pipelines.errors import ConfigError, DataError, RunError
from pipelines.runs import data_versions, gc
from pipelines.runs.git import RefMovedError
from pipelines.runs.run_commits import fetch_output, find_run, finish_run, list_runs, read_lock
from pipelines.runs.start import ChampionPin, start_run
from pipelines.runs.store import file_md5
from pipelines.runs.worktrees import prepare_worktree, worktree_path
from pipelines.settings import child_environment
from tests.processes import gone
from tests.toy_pipeline import Shop, flip, make_shop, write_week

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return make_shop(tmp_path, monkeypatch)


def test_data_version_adds_only_what_is_new_and_is_the_same_when_landed_again(shop: Shop) -> None:
    first = shop.land(1, 2)
    assert first.changed == ("events/2017-W01.parquet", "events/2017-W02.parquet")
    again = shop.land(1, 2)
    assert (again.commit, again.changed) == (first.commit, ())
    second = shop.land(3)
    assert second.changed == ("events/2017-W03.parquet",)
    assert shop.git.parents(second.commit) == [first.commit]
    assert sorted(data_versions.partition_hashes(shop.settings, second)["events"]) == [
        f"2017-W0{week}.parquet" for week in (1, 2, 3)
    ]
    assert shop.git.date(second.commit) == int(datetime.fromisocalendar(2017, 3, 1).replace(tzinfo=UTC).timestamp())
    replaced = shop.land(2, rows=9)
    assert replaced.changed == ("events/2017-W02.parquet",)
    assert [entry.path for entry in shop.git.entries(replaced.commit)] == ["data/raw/events.dvc", "data/sources.json"]


def test_data_version_refuses_a_symlink_a_strange_name_and_a_checked_out_branch(shop: Shop) -> None:
    write_week(shop.landing, 1, 2)
    (shop.landing / "events" / "2017-W02.parquet").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match=r"2017-W02\.parquet"):
        data_versions.commit_landing(shop.settings, shop.landing, "Land")
    (shop.landing / "events" / "2017-W02.parquet").unlink()
    (shop.landing / "evnts").mkdir()
    with pytest.raises(DataError, match="evnts"):
        data_versions.commit_landing(shop.settings, shop.landing, "Land")
    (shop.landing / "evnts").rmdir()
    assert data_versions.latest_data_version(shop.settings) is None
    data_versions.commit_landing(shop.settings, shop.landing, "Land")
    shop.git.run("symbolic-ref", "HEAD", data_versions.BRANCH)
    with pytest.raises(RunError, match="checked out"):
        data_versions.commit_landing(shop.settings, shop.landing, "Land")


def test_data_versions_landed_at_the_same_time_are_both_kept(shop: Shop) -> None:
    children = []
    for week in (1, 2, 3):
        write_week(shop.folder / str(week), week, 3)
        command = [sys.executable, "-m", "pipelines.runs.data_versions", "--message", "Land", "--landing"]
        environment = child_environment(shop.settings, PYTHONPATH=str(ROOT))
        children.append(subprocess.Popen([*command, str(shop.folder / str(week))], env=environment))
    assert [child.wait(timeout=60) for child in children] == [0, 0, 0]
    tip = data_versions.latest_data_version(shop.settings)
    assert tip is not None
    assert len(data_versions.partition_hashes(shop.settings, tip)["events"]) == 3
    assert len(shop.git.text("rev-list", tip.commit).split()) == 3


def test_update_ref_refuses_when_the_ref_was_moved(shop: Shop) -> None:
    head = shop.git.resolve("main")
    other = shop.git.commit(shop.git.tree_of(head), [head], "Other", 1)
    shop.git.update_ref("refs/heads/x", head, "0" * 40)
    shop.git.update_ref("refs/heads/x", other, head)
    with pytest.raises(RefMovedError, match="refs/heads/x"):
        shop.git.update_ref("refs/heads/x", head, head)


@pytest.mark.parametrize("revision", ["--upload-pack=x", "main..x", "main@{1}", "a b", "-x", "x;y", "", "x.lock"])
def test_resolve_refuses_what_is_not_a_plain_revision(shop: Shop, revision: str) -> None:
    with pytest.raises(RunError, match="revision"):
        shop.git.resolve(revision)


def test_start_with_other_models_is_a_marked_snapshot_and_leaves_the_user_s_file_as_it_is(shop: Shop) -> None:
    shop.land(1)
    plain = start_run(shop.settings, None)
    params = shop.settings.repository / "params.yaml"
    before = (params.read_bytes(), shop.git.run("status", "--porcelain"))
    chosen = start_run(shop.settings, None, models="linear,text")
    assert chosen.dirty
    assert chosen == start_run(shop.settings, None, models="linear,text")
    assert (params.read_bytes(), shop.git.run("status", "--porcelain")) == before
    assert shop.git.parents(chosen.code_commit) == [plain.code_commit]
    section = yaml.safe_load(shop.git.read(chosen.commit, "params.yaml"))["models"]
    assert [name for name, on in section.items() if on] == ["linear", "text"]
    assert "models linear,text" in shop.git.text("log", "-1", "--format=%s", chosen.code_commit)
    with pytest.raises(ConfigError, match="no model 'linaer'"):
        start_run(shop.settings, None, models="linaer")


def test_start_is_the_same_for_equal_content_and_leaves_a_dirty_tree_as_it_is(shop: Shop) -> None:
    data = shop.land(1)
    clean = start_run(shop.settings, None)
    assert not clean.dirty
    assert start_run(shop.settings, None) == clean
    assert shop.git.parents(clean.commit) == [shop.git.resolve("main"), data.commit]
    code = shop.settings.repository
    (code / "params.yaml").write_text("factor: 3\n")
    (code / "notes.md").write_text("new\n")
    (code / "total.py").unlink()
    shop.git.run("add", "notes.md")
    (code / "notes.md").write_text("newer\n")
    before = (shop.git.run("status", "--porcelain"), (code / ".git" / "index").read_bytes())
    dirty = start_run(shop.settings, None)
    assert dirty.dirty
    assert start_run(shop.settings, None) == dirty
    assert before == (shop.git.run("status", "--porcelain"), (code / ".git" / "index").read_bytes())
    assert shop.git.parents(dirty.code_commit) == [clean.code_commit]
    assert shop.git.read(dirty.commit, "notes.md") == b"newer\n"
    assert shop.git.read(dirty.commit, "total.py") is None
    assert start_run(shop.settings, None, code="main") == clean
    (code / "link").symlink_to("/etc")
    with pytest.raises(RunError, match="link is a symlink"):
        start_run(shop.settings, None)


def test_run_commit_has_code_and_data_as_parents_and_a_second_run_is_cached(shop: Shop) -> None:
    data = shop.land(1, 2)
    start = start_run(shop.settings, None)
    run, cached = shop.run(start, "manual__2026-01-01T00:00:00+00:00")
    assert cached == [False, False]
    assert shop.git.parents(run.commit) == [shop.git.resolve("main"), data.commit]
    assert set(read_lock(shop.settings, run)) == {"sizes", "total"}
    assert shop.git.read(start.commit, "dvc.lock") is None
    assert shop.git.run("status", "--porcelain") == b""
    weeks = sorted(shop.landing.glob("events/*"))
    total = fetch_output(shop.settings, run, "data/total.txt", shop.folder / "total.txt")
    assert total.read_text() == str(sum(path.stat().st_size for path in weeks))
    above = fetch_output(shop.settings, run, "data", shop.folder / "above")
    assert (above / "total.txt").read_text() == total.read_text()
    assert (above / "sizes" / "2017-W01.txt").is_file()
    one = fetch_output(shop.settings, run, "data/sizes/2017-W01.txt", shop.folder / "one.txt")
    assert one.read_text() == str(weeks[0].stat().st_size)
    with pytest.raises(RunError, match=r"did you mean 'data/total\.txt'"):
        fetch_output(shop.settings, run, "data/totl.txt", shop.folder / "x")

    later = start_run(shop.settings, None)
    assert (later.commit, later.reused_run) == (start.commit, run.ref)
    again, cached = shop.run(later, "manual__2")
    assert (again, cached) == (run, [True, True])
    worktree = worktree_path(shop.settings, start.commit, "manual__2")
    assert json.loads((worktree / "data" / "sizes.json").read_text()) == {"files": 2}
    assert find_run(shop.settings, "manual__2") == find_run(shop.settings, run.ref) == run
    with pytest.raises(RunError, match="no run 'nobody'"):
        find_run(shop.settings, "nobody")


def test_start_is_reused_when_the_champion_is_what_it_produced_and_not_for_another(shop: Shop) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    run, _ = shop.run(start, "one")
    package = fetch_output(shop.settings, run, "data/sizes", shop.folder / "package")
    own = ChampionPin("1", "abc", run.commit, package)
    assert start_run(shop.settings, own).reused_run == run.ref
    other = start_run(shop.settings, ChampionPin("2", "def", "f" * 40, package))
    assert (other.reused_run, other.champion_version) == (None, "2")
    assert other.commit != start.commit
    run, cached = shop.run(other, "two")
    assert cached == [True, False]
    worktree = worktree_path(shop.settings, other.commit, "two")
    assert json.loads((worktree / "data/champion/champion.json").read_text())["version"] == "2"


def test_start_pins_the_champion_for_training_only_where_a_warm_start_is_asked_for(shop: Shop) -> None:
    shop.land(1)
    (shop.folder / "package").mkdir()
    (shop.folder / "package" / "factors.json").write_text("[1, 2]")
    champion = ChampionPin("1", "abc", "f" * 40, shop.folder / "package")
    pins = {}
    for name, text in (("fresh", "factor: 2\n"), ("warm", "factor: 2\ntrain_mf: {warm: true}\n")):
        (shop.settings.repository / "params.yaml").write_text(text)
        for version in (None, champion):
            start = start_run(shop.settings, version)
            pins[name, version] = data_versions.read_pointers(shop.git, start.commit)
    nothing = pins["fresh", None]["data/champion"]
    assert {key: pin["data/previous"] == nothing for key, pin in pins.items()} == {
        ("fresh", None): True, ("fresh", champion): True, ("warm", None): True, ("warm", champion): False
    }  # fmt: skip
    assert pins["warm", champion]["data/previous"] == pins["warm", champion]["data/champion"]


def test_stage_failure_is_the_stages_own_text_and_the_retry_finishes(shop: Shop) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    (shop.flags / "fail").touch()
    failed = shop.stage(start, "sizes", "one")
    assert failed["error"] == "events/2017-W01: no purchases\n  -> land it again"
    assert failed["lock_entry"] is None
    child = shop.popen(shop.request(start, "sizes", "one"))
    assert child.wait(timeout=60) == 1
    told = json.loads((shop.folder / "result.json").read_text())
    assert told == failed
    half = worktree_path(shop.settings, start.commit, "one") / "data" / "sizes"
    assert half.is_dir()
    missing = shop.stage(start, "total", "one")
    assert "data/sizes, an input of stage total, is made by stage sizes" in missing["error"]
    (half / "left.txt").write_text("half-written")
    (shop.flags / "fail").unlink()
    _, cached = shop.run(start, "one")
    assert cached == [False, False]
    assert not (half / "left.txt").exists()


def test_stage_killed_with_its_group_leaves_no_orphan_and_the_next_run_finishes(shop: Shop) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    (shop.flags / "hang").touch()
    child = shop.popen(shop.request(start, "sizes", "one"))
    pid = wait_for_pid(shop.flags / "pid")
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait(timeout=10) == -signal.SIGKILL
    assert gone(pid)
    assert not (shop.folder / "result.json").exists()
    (shop.flags / "pid").unlink()
    child = shop.popen(shop.request(start, "sizes", "one"))
    pid = wait_for_pid(shop.flags / "pid")
    child.kill()
    child.wait(timeout=10)
    assert gone(pid)
    (shop.flags / "hang").unlink()
    _, cached = shop.run(start, "one")
    assert cached == [False, False]


def test_corrupted_cache_file_is_refused_by_name_and_the_mending_command_mends(shop: Shop) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    assert shop.stage(start, "sizes", "one")["error"] is None
    path = shop.cached_file("sizes", "data/sizes")
    flip(path)
    refused = shop.stage(start, "total", "two")["error"]
    assert "data/sizes/2017-W01.txt" in refused
    assert "stage sizes" in refused
    assert f"rm -f {path}" in refused
    assert "data/sizes" in shop.stage(start, "sizes", "two")["error"]
    path.unlink()
    assert shop.stage(start, "total", "two")["error"] is None
    assert file_md5(path) == path.parent.name + path.name
    run = finish_run(shop.settings, start, shop.entries, "one")
    flip(shop.cached_file("total", "data/total.txt"))
    with pytest.raises(RunError, match="stage total"):
        fetch_output(shop.settings, run, "data/total.txt", shop.folder / "total.txt")
    assert not (shop.folder / "total.txt").exists()


def test_corrupted_raw_partition_is_refused(shop: Shop) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    digest = file_md5(shop.landing / "events" / "2017-W01.parquet")
    flip(shop.settings.home / "cache" / "files" / "md5" / digest[:2] / digest[2:])
    refused = shop.stage(start, "sizes", "one")["error"]
    assert "data/raw/events/2017-W01.parquet" in refused
    assert "data/raw/events.dvc" in refused


def test_stage_says_what_to_land_when_the_data_version_is_older_than_a_table(shop: Shop) -> None:
    shop.land(1)
    graph = shop.settings.repository / "dvc.yaml"
    graph.write_text(graph.read_text().replace("data/raw/events]", "data/raw/events, data/raw/users]"))
    refused = shop.stage(start_run(shop.settings, None), "sizes", "one")["error"]
    assert refused == (
        "data/raw/users, an input of stage sizes, is not in the data version\n  -> land users first: shoploom ingest"
    )


def test_stage_refuses_another_graph_and_changed_code(shop: Shop) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    assert "dvc.yaml" in shop.stage(start, "sizes", "one", graph_sha256="0" * 64)["error"]
    assert "did you mean 'sizes'" in shop.stage(start, "size", "one")["error"]
    worktree = prepare_worktree(shop.settings, start.commit, "one")
    (worktree / "sizes.py").write_text("print()\n")
    assert "sizes.py" in shop.stage(start, "sizes", "one")["error"]


def test_stage_pulls_what_another_machine_made(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    shop.run(start, "one")
    (shop.settings.home / "cache").rename(shop.folder / "lost")
    _, cached = shop.run(start, "two")
    assert cached == [True, True]
    monkeypatch.setenv("SHOPLOOM_NO_CACHE", "1")
    forced = shop.stage(start, "total", "three")
    assert (forced["error"], forced["cached"]) == (None, False)
    path = shop.cached_file("sizes", "data/sizes")
    path.unlink()
    sent = shop.settings.home / "remote" / path.relative_to(shop.settings.home / "cache")
    flip(sent)
    assert f"rm -f {sent}" in shop.stage(start, "total", "four")["error"]
    assert not path.exists()


def test_gc_keeps_the_newest_run_and_every_data_version(shop: Shop) -> None:
    shop.land(1)
    old, _ = shop.run(start_run(shop.settings, None), "one")
    shop.land(2)
    time.sleep(1)  # run commits count whole seconds
    new, _ = shop.run(start_run(shop.settings, None), "two")
    assert gc.plan(shop.settings, keep=1, keep_runs=[old.ref], grace_seconds=0).runs == ()
    assert gc.plan(shop.settings, keep=1).objects == ()
    garbage = gc.plan(shop.settings, keep=1, grace_seconds=-1)
    assert garbage.runs == (old,)
    assert gc.collect(shop.settings, garbage) == garbage.bytes > 0
    assert list_runs(shop.settings) == [new]
    assert list((shop.settings.home / "worktrees").glob("[!.]*")) == []
    fetch_output(shop.settings, new, "data/sizes", shop.folder / "sizes")
    rebuilt, cached = shop.run(start_run(shop.settings, None), "three")
    assert (rebuilt, cached) == (new, [True, True])
    assert gc.plan(shop.settings, keep=1, grace_seconds=-1).objects == ()


def wait_for_pid(path: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")

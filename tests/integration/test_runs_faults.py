"""What a run says when something around it is wrong, and what it does not take for something else."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from pipelines.errors import RunError
from pipelines.runs import gc
from pipelines.runs.git import Git
from pipelines.runs.run_commits import fetch_output
from pipelines.runs.start import ChampionPin, snapshot, start_run
from pipelines.runs.store import Store, file_md5
from pipelines.runs.worktrees import prepare_worktree, run_folder
from pipelines.settings import Settings
from tests.processes import answering
from tests.toy_pipeline import GRAPH, Shop, flip, make_shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return make_shop(tmp_path, monkeypatch)


def test_git_tells_a_missing_repository_from_an_unknown_revision(shop: Shop) -> None:
    outside = shop.folder / "outside"
    outside.mkdir()
    for ask in (lambda git: git.resolve("main"), lambda git: git.ignores("data")):
        with pytest.raises(RunError, match="not a git repository") as refused:
            ask(Git(outside))
        assert refused.value.mend == f"git init {outside}"
        with pytest.raises(RunError, match="No such file") as refused:
            ask(Git(shop.folder / "nowhere"))
        assert "SHOPLOOM_REPOSITORY" in refused.value.mend
    with pytest.raises(RunError, match="git knows no commit 'nothing'"):
        shop.git.resolve("nothing")
    assert not shop.git.ignores("data")


def test_snapshot_tells_a_repository_without_a_commit_whatever_its_name(shop: Shop) -> None:
    fresh = Git(shop.folder / "repository")
    shop.git.run("init", "--quiet", str(fresh.root))
    with pytest.raises(RunError, match="has no commit yet") as refused:
        snapshot(Settings(repository=fresh.root), fresh)
    assert refused.value.mend == "git add -A && git commit"


def test_snapshot_sees_a_change_made_within_the_index_s_own_tick(shop: Shop) -> None:
    shop.git.run("config", "core.trustctime", "false")
    changed, index, tick = shop.settings.repository / "params.yaml", shop.settings.repository / ".git" / "index", 10**18
    os.utime(changed, ns=(tick, tick))
    shop.git.run("add", "params.yaml")
    with changed.open("r+") as stream:
        stream.write("factor: 3\n")
    for path in (changed, index):
        os.utime(path, ns=(tick, tick))
    commit, dirty = snapshot(shop.settings, shop.git)
    assert dirty
    assert shop.git.read(commit, "params.yaml") == b"factor: 3\n"


def test_start_is_new_when_a_champion_of_the_same_version_is_another_package(shop: Shop) -> None:
    shop.land(1)
    first, _ = shop.run(start_run(shop.settings, None), "one")
    package = fetch_output(shop.settings, first, "data/sizes", shop.folder / "package")
    measured = start_run(shop.settings, ChampionPin("1", "abc", "e" * 40, package))
    run, _ = shop.run(measured, "two")
    assert run.champion_digest == "abc"
    again = start_run(shop.settings, ChampionPin("1", "abc", "e" * 40, package))
    assert (again.commit, again.reused_run, again.champion_digest) == (measured.commit, run.ref, "abc")
    (package / "more.txt").write_text("another package\n")
    other = start_run(shop.settings, ChampionPin("1", "def", "d" * 40, package))
    assert (other.reused_run, other.champion_digest) == (None, "def")
    assert other.commit != measured.commit


def test_stage_names_a_start_commit_without_a_graph(shop: Shop) -> None:
    shop.land(1)
    graph = shop.settings.repository / "dvc.yaml"
    graph.unlink()
    bare = start_run(shop.settings, None)
    graph.write_text(GRAPH)
    said = shop.stage(bare, "sizes", "one")["error"]
    assert f"start commit {bare.commit[:12]} holds no dvc.yaml" in said
    assert "git add dvc.yaml" in said
    whole = start_run(shop.settings, None)
    (prepare_worktree(shop.settings, whole.commit, "two") / "dvc.yaml").unlink()
    assert "checkout -- ." in shop.stage(whole, "sizes", "two")["error"]


@pytest.mark.parametrize(
    ("graph", "named"),
    [
        (GRAPH.replace("params: [factor]", "params: [factr]"), "factr"),
        (GRAPH.replace("deps:", "dips:"), "validation failed"),
    ],
)
def test_what_dvc_refuses_is_mended_where_it_is_declared(shop: Shop, graph: str, named: str) -> None:
    shop.land(1)
    (shop.settings.repository / "dvc.yaml").write_text(graph)
    said = shop.stage(start_run(shop.settings, None), "sizes", "one")["error"]
    assert named in said
    assert said.endswith("-> correct deps and params in dvc.yaml, or params.yaml")


def test_an_unforeseen_error_leaves_its_traceback_in_the_stage_s_log(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    (prepare_worktree(shop.settings, start.commit, "one") / "dvc.lock").write_text("stages: [")
    said = shop.stage(start, "sizes", "one")["error"]
    assert said.startswith("ParserError: ")
    log = capfd.readouterr().err
    assert "Traceback (most recent call last):" in log
    assert "in _write_lock" in log


def test_a_changed_object_of_a_served_remote_is_named_by_its_address(shop: Shop) -> None:
    shop.land(1)
    partition = file_md5(shop.landing / "events" / "2017-W01.parquet")
    name = f"files/md5/{partition[:2]}/{partition[2:]}"
    flip(shop.settings.home / "remote" / name)
    shutil.rmtree(shop.settings.home / "cache")
    with served(shop.settings.home / "remote") as address:
        store = Store(Settings(repository=shop.settings.repository, remote_url=address))
        try:
            with pytest.raises(RunError, match="is not what its hash says") as refused:
                store.pull([partition])
            assert not store.cache_path(partition).exists()
        finally:
            store.close()
    assert refused.value.mend == f"delete the object {address}/{name}, then shoploom run"


def test_gc_takes_the_old_folders_of_ingests_and_failed_runs(shop: Shop) -> None:
    shop.land(1)
    old, _ = shop.run(start_run(shop.settings, None), "manual__1")
    shop.land(2)
    time.sleep(1)  # run commits count whole seconds
    new, _ = shop.run(start_run(shop.settings, None), "manual__2026-01-01T00:00:00+00:00")
    refused, working = (run_folder(shop.settings, name) for name in ("refused", "working"))
    for folder in (*(run_folder(shop.settings, run.run_id) for run in (old, new)), refused, working):
        (folder / "landing").mkdir(parents=True)
        (folder / "land.log").write_text("landed\n")
        for path in (*folder.iterdir(), folder):
            os.utime(path, (time.time() - 2 * gc.DAY,) * 2)
    (working / "land.log").write_text("landing on\n")
    kept_folder, old_folder = run_folder(shop.settings, new.run_id), run_folder(shop.settings, old.run_id)

    garbage = gc.plan(shop.settings, keep=1)
    assert garbage.folders == (old_folder, refused)
    assert f"folder {refused}" in garbage.lines()
    assert refused.is_dir()
    assert gc.plan(shop.settings, keep=1, keep_runs=[old.ref]).folders == (refused,)
    gc.collect(shop.settings, garbage)
    assert sorted(path.name for path in (shop.settings.home / "runs").iterdir()) == sorted(
        [kept_folder.name, working.name]
    )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server over ``folder``, on loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    with answering(partial(Quiet, directory=str(folder))) as address:
        yield address

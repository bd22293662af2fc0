"""The audit log on a real repository and a real MLflow store: what is appended, and what an attacker changes."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.errors import RunError
from pipelines.lineage import anchors, audit
from pipelines.lineage.audit import Entry, log_path, read, record
from pipelines.lineage.audit_check import check, restore
from pipelines.settings import Settings
from tests.repositories import new_repository


@pytest.fixture
def settings(mlflow_home: Path, tmp_path: Path) -> Settings:
    return six_entries(mlflow_home, tmp_path)


@pytest.fixture(scope="module")
def attacked(mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """For whoever puts the log back as it was."""
    return six_entries(mlflow_home, tmp_path_factory.mktemp("attacked"))


def six_entries(mlflow_home: Path, folder: Path) -> Settings:
    home = shutil.copytree(mlflow_home, folder / "home")
    settings = new_repository(folder / "shop", home=home)
    for number in range(1, 7):
        record(settings, "land", f"data {number}", run=f"run-{number % 2}", rows=number)
    return settings


def rewritten(entry: Entry, **changed: object) -> bytes:
    """An entry as a forger writes it who knows how the hash is made."""
    forged = replace(entry, **changed, hash="")  # type: ignore[arg-type]
    return replace(forged, hash=forged.own_hash()).line()


def edit(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"rows":3', b'"rows":9') for line in lines]


def edit_and_hash(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], rewritten(Entry(**json.loads(lines[2])), details={"rows": 9}), *lines[3:]]


def forge_from(lines: list[bytes]) -> list[bytes]:
    """Everything from the third on is made again, each following from the one before."""
    made = lines[:2]
    for line in lines[2:]:
        previous = Entry(**json.loads(made[-1])).hash
        made.append(rewritten(Entry(**json.loads(line)), actor="mallory@host", previous=previous))
    return made


ATTACKS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str, int | None, str]] = {
    "edit": (edit, "edited", 3, "entry 3 was edited: its content has another hash"),
    "edit and hash again": (edit_and_hash, "edited", 3, "entry 3 was rewritten: git's copy"),
    "forge all that follows": (forge_from, "edited", 3, "entry 3 was rewritten: git's copy"),
    "reorder": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "reordered", 3, "3 stands after 4"),
    "remove": (lambda lines: [*lines[:3], *lines[4:]], "missing", 4, "entry 4 is missing"),
    "remove the first": (lambda lines: lines[1:], "missing", 1, "entry 1 is missing"),
    "truncate": (lambda lines: lines[:4], "truncated", 5, "entries 5 to 6 are cut off the log's end"),
    "truncate one": (lambda lines: lines[:5], "truncated", 6, "entry 6 is cut off"),
    "repeat": (lambda lines: [*lines, lines[1]], "repeated", 2, "entry 2 stands there twice"),
    "garble": (lambda lines: [*lines[:2], b"{}", *lines[3:]], "edited", None, "line 3 was edited"),
    "spell differently": (lambda lines: [lines[0].replace(b",", b", "), *lines[1:]], "edited", None, "line 1"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_verify_names_the_entry_that_an_attacker_touched(attacked: Settings, attack: str) -> None:
    change, kind, sequence, message = ATTACKS[attack]
    assert check(attacked).findings == ()
    before = log_path(attacked).read_bytes()
    log_path(attacked).write_bytes(b"".join(line + b"\n" for line in change(before.splitlines())))
    found = [finding for finding in check(attacked).findings if message in finding.message]
    log_path(attacked).write_bytes(before)
    assert [(finding.kind, finding.sequence) for finding in found] == [(kind, sequence)]


def test_restore_writes_the_log_from_git_and_keeps_the_damaged_one(settings: Settings) -> None:
    whole = read(settings)
    log_path(settings).write_bytes(b"".join(line + b"\n" for line in edit([entry.line() for entry in whole[:4]])))
    damaged = log_path(settings).read_bytes()
    assert restore(settings) == 7
    assert read(settings)[:6] == whole
    assert read(settings)[6].action == "restore"
    assert check(settings).findings == ()
    assert [path.read_bytes() for path in log_path(settings).parent.glob("damaged-*")] == [damaged]
    log_path(settings).unlink()
    assert restore(settings) == 8
    subprocess.run(["git", "-C", str(settings.repository), "update-ref", "-d", anchors.audit_ref(settings)], check=True)
    with pytest.raises(RunError, match="is lost too") as caught:
        restore(settings)
    assert "from a copy" in caught.value.mend


def test_a_whole_chain_follows_from_its_first_entry(settings: Settings) -> None:
    entries = read(settings)
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[0].previous == audit.FIRST
    assert all(entry.own_hash() == entry.hash for entry in entries)
    assert [entry.previous for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
    assert log_path(settings).read_bytes() == b"".join(entry.line() + b"\n" for entry in entries)
    assert anchors.copies(settings) == entries


def test_nothing_is_added_to_a_log_that_was_lost_or_cut_off(settings: Settings) -> None:
    lines = log_path(settings).read_bytes().splitlines(keepends=True)
    log_path(settings).write_bytes(b"".join(lines[:4]))
    with pytest.raises(RunError, match=r"ends at entry 4; git's copy in .* has 6 entries") as caught:
        record(settings, "land", "data 7")
    assert "shoploom audit restore" in caught.value.mend
    log_path(settings).unlink()
    with pytest.raises(RunError, match=r"log\.jsonl is lost; git's copy in .* has 6 entries"):
        record(settings, "land", "data 7")
    assert check(settings).findings[0].kind == "lost"
    shown = CliRunner().invoke(main, ["audit", "--json"], env=environment(settings))
    assert [entry["subject"] for entry in json.loads(shown.output)] == [f"data {number}" for number in range(1, 7)]


def test_a_ref_that_was_moved_back_with_the_log_is_known_to_mlflow(settings: Settings) -> None:
    anchors.anchor_in_registry(settings)
    git, ref = ["git", "-C", str(settings.repository)], anchors.audit_ref(settings)
    subprocess.run([*git, "update-ref", ref, f"{ref}~2"], check=True)
    lines = log_path(settings).read_bytes().splitlines(keepends=True)
    log_path(settings).write_bytes(b"".join(lines[:4]))
    messages = [finding.message for finding in check(settings).findings]
    assert any("entries 5 to 6 are cut off" in message and "MLflow" in message for message in messages)
    assert any(f"{ref} ends at entry 4; MLflow" in message for message in messages)


def test_a_deleted_ref_is_named_and_the_next_entry_brings_it_back(settings: Settings) -> None:
    ref = anchors.audit_ref(settings)
    subprocess.run(["git", "-C", str(settings.repository), "update-ref", "-d", ref], check=True)
    assert [finding.kind for finding in check(settings).findings] == ["anchor"]
    record(settings, "land", "data 7")
    assert check(settings).findings == ()
    assert len(anchors.copies(settings)) == 7


def test_a_line_that_a_killed_process_left_half_written_is_kept_aside(settings: Settings) -> None:
    with log_path(settings).open("ab") as log:
        log.write(b'{"action":"la')
    record(settings, "land", "data 7")
    assert check(settings).findings == ()
    assert [path.read_bytes() for path in log_path(settings).parent.glob("torn-*")] == [b'{"action":"la']


def test_an_entry_that_git_did_not_hear_of_is_anchored_with_the_next(settings: Settings) -> None:
    last = read(settings)[-1]
    audit.append(settings, replace(read_entry(rewritten(last, sequence=7, previous=last.hash))))
    record(settings, "gate", "version 1")
    assert [copy.sequence for copy in anchors.copies(settings) if copy] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert check(settings).findings == ()


def read_entry(line: bytes) -> Entry:
    entry = audit.parse(line)
    assert entry is not None
    return entry


def test_processes_that_append_at_once_make_one_chain(settings: Settings) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(record, [(settings, "load", f"version {number}") for number in range(12)])
    report = check(settings)
    assert (report.entries, report.findings) == (18, ())


def environment(settings: Settings) -> dict[str, str]:
    return {"SHOPLOOM_REPOSITORY": str(settings.repository), "SHOPLOOM_HOME": str(settings.home)}


def test_audit_shows_and_filters_what_was_done(settings: Settings) -> None:
    record(settings, "gate", "version 1", run="run-x", decision="promote")
    shell = CliRunner()
    gate = shell.invoke(main, ["audit", "--action", "gate"], env=environment(settings))
    assert "version 1  decision=promote" in gate.output
    assert "data 1" not in gate.output
    ours = json.loads(shell.invoke(main, ["audit", "--run", "run-1", "--json"], env=environment(settings)).output)
    assert [entry["subject"] for entry in ours] == ["data 1", "data 3", "data 5"]
    assert ours[0] == asdict(read(settings)[0])
    late = shell.invoke(main, ["audit", "--since", "2999-01-01"], env=environment(settings))
    assert late.output == "no such entry\n"
    wrong = shell.invoke(main, ["audit", "--action", "gates"], env=environment(settings))
    assert "there is no action 'gates'\n  -> did you mean 'gate'" in wrong.output


def test_audit_verify_ends_with_status_1_when_an_entry_was_edited(settings: Settings) -> None:
    shell = CliRunner()
    sound = shell.invoke(main, ["audit", "verify"], env=environment(settings))
    assert (sound.exit_code, sound.output[:18]) == (0, "+ 6 entries, whole")
    log_path(settings).write_bytes(log_path(settings).read_bytes().replace(b'"rows":2', b'"rows":8'))
    broken = shell.invoke(main, ["audit", "verify"], env=environment(settings))
    assert broken.exit_code == 1
    assert "entry 2 was edited" in broken.output
    assert "shoploom audit restore" in broken.output

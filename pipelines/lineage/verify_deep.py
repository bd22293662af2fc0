"""``shoploom verify VERSION``: beside what the server checks, the run, the bytes of its data, and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import ShoploomError, TrustError
from pipelines.lineage.audit_check import check as check_log
from pipelines.lineage.promotions import standing_of
from pipelines.lineage.verify import Check, Standing
from pipelines.runs.locks import LOCK, load_lock
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.runs.store import Store


def verify_all(settings: Settings, version: str, root: str = "") -> Standing:
    """Look at everything that speaks for a version, down to the bytes of the data that this machine has.

    Args:
        settings: the registry, the repository and the state folder.
        version: of the registered model.
        root: the root key's fingerprint; by default what the environment says.

    Raises:
        RegistryError: MLflow does not answer, or there is no such version.
    """
    standing = standing_of(settings, version, root, afresh=True)
    checks = list(standing.checks)
    if standing.release:
        facts, stages = standing.facts, standing.outputs
        steps: dict[str, Callable[[], str]] = {
            "run": lambda: _run(settings, facts, stages),
            "data": lambda: _data(settings, facts, stages),
            "report": lambda: _report(settings, facts),
        }
        for name, step in steps.items():
            try:
                checks.append(Check(name, True, step()))
            except ShoploomError as error:
                checks.append(Check(name, False, f"{error.message}{f' ({error.mend})' if error.mend else ''}"))
    report = check_log(settings)
    broken = "; ".join(finding.message for finding in report.findings)
    checks.append(Check("audit log", not broken, broken or f"{report.entries} entries, whole"))
    return replace(standing, checks=tuple(checks))


def _run(settings: Settings, facts: dict[str, Any], stages: dict[str, dict[str, str]]) -> str:
    """Hold the run commit to what was signed: its parents, and every stage's outputs in ``dvc.lock``."""
    from pipelines.runs.git import Git
    from pipelines.runs.run_commits import RUNS

    git, commit = Git(settings.repository), str(facts["run_commit"])
    named = set(git.refs(RUNS).values())
    if commit not in named:
        raise TrustError(
            f"no ref under {RUNS} names run {commit[:12]} any more",
            mend=f"git update-ref {RUNS}/restored-{commit[:10]} {commit}",
        )
    if git.parents(commit) != [facts["code"], facts["data"]]:
        raise TrustError(f"run {commit[:12]} has other parents than the signed code and data commits")
    lock = load_lock(git.read(commit, LOCK) or b"")
    for stage, outs in stages.items():
        found = {str(out["path"]): str(out.get("md5", "")) for out in lock.get(stage, {}).get("outs") or []}
        for name, digest in outs.items():
            if found.get(name) != digest:
                raise TrustError(f"dvc.lock of run {commit[:12]}: {name} of stage {stage} is not what was signed")
    return f"{commit[:12]}: {len(stages)} stages as signed"


def _data(settings: Settings, facts: dict[str, Any], stages: dict[str, dict[str, str]]) -> str:
    """Hash what this machine has of the run's raw data and outputs."""
    from pipelines.runs.data_versions import read_version
    from pipelines.runs.git import Git
    from pipelines.runs.store import Store

    version = read_version(Git(settings.repository), str(facts["data"]))
    listed = {f"data/raw/{table}": md5 for table, md5 in version.listings.items()}
    for outs in stages.values():
        listed |= {name: md5 for name, md5 in outs.items() if md5}
    store = Store(settings)
    try:
        counted = [_files(store, name, md5) for name, md5 in sorted(listed.items())]
    finally:
        store.close()
    there, absent = (sum(counts) for counts in zip(*counted, strict=True))
    elsewhere = f"; {absent} are not on this machine" if absent else ""
    return f"{there} files of data and outputs, every byte as recorded{elsewhere}"


def _report(settings: Settings, facts: dict[str, Any]) -> str:
    """Hold the kept report of the load to what the audit log says it was."""
    from pipelines.artifacts import file_sha256
    from pipelines.lineage.anchors import copies
    from pipelines.runs.load_docs import REPORT, docs_of

    docs = docs_of(settings, str(facts["data"]))
    report = docs.parent / REPORT if docs else None
    if report is None or not report.is_file():
        return "the load's report is not on this machine"
    known = [entry for entry in copies(settings) if entry is not None]
    landed = {entry.run for entry in known if (entry.action, entry.subject) == ("land", f"data {facts['data']}")}
    if not landed:
        return "the load is older than the audit log"
    recorded = {
        str(entry.details.get("report")) for entry in known if entry.action == "validate" and entry.run in landed
    }
    if file_sha256(report) not in recorded:
        raise TrustError(f"{report} is not the report that the audit log recorded when the load was validated")
    return "the load's report is the one that was recorded"


def _files(store: Store, name: str, md5: str) -> tuple[int, int]:
    """How many files of an output are here and whole, and how many are not here.

    Raises:
        TrustError: one was changed; it is named.
    """
    from pipelines.runs.store import file_md5

    there = absent = 0
    for file in store.files(md5):
        path: Path = store.cache_path(file.md5)
        if not path.is_file():
            absent += 1
        elif file_md5(path) != file.md5:
            whole = f"{name}/{file.path}".rstrip("/")
            raise TrustError(f"{whole} was changed in the cache: {path}", mend=f"rm -f {path}, and it is fetched again")
        else:
            there += 1
    return there, absent


def draw_standing(standing: Standing, console: Console) -> None:
    """A line for each check, and what it comes to."""
    for check in standing.checks:
        mark = "[green]+[/]" if check.holds else "[red]x[/]"
        console.print(f"{mark} {check.name:<10} ", end="")
        console.print(check.message, markup=False, soft_wrap=True)
    if standing.override:
        console.print(f"[red]![/] override   {standing.override}", soft_wrap=True)
    console.print(f"version {standing.version} {'does not verify' if standing.broken else 'verifies'}")

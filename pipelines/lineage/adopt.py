"""Sign a version that an older shoploom registered, from its run, its verdict and its package as they are now."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.errors import TrustError
from pipelines.lineage.audit import record
from pipelines.lineage.evidence import envelopes, fetch
from pipelines.lineage.release import Made, sign_release
from pipelines.settings import Settings


def adopt_version(settings: Settings, version: str) -> str:
    """Sign what is there: whoever does so vouches that it is what the run made; it goes to the audit log.

    Args:
        settings: the registry, the repository and the object store.
        version: of the registered model.

    Returns:
        The release's hash.

    Raises:
        TrustError: it is signed already, or its verdict is lost.
        RunError: its run, or an output of it, is lost.
        RegistryError: MLflow does not answer, there is no such version, or its package is not the registered one.
    """
    from pipelines.registry.gate_verdict import VERDICT_FILE
    from pipelines.registry.promotion import registered
    from pipelines.registry.store import connect, existing, translated
    from pipelines.registry.summary import read_artifact
    from pipelines.runs.run_commits import fetch_output, find_run, read_lock

    found = registered(settings, version)
    if envelopes(fetch(settings, version, found.digest)):
        raise TrustError(f"version {version} is signed already", mend=f"shoploom verify {version}")
    client = connect(settings)
    with translated(settings):
        verdict = read_artifact(client, str(existing(client, version).run_id), VERDICT_FILE)
    if verdict is None:
        raise TrustError(f"the verdict on version {version} is not among its run's artifacts", mend="shoploom train")
    run = find_run(settings, found.run)
    lock = read_lock(settings, run)
    made = Made(
        version, found.digest, found.kept_package(), run.commit, run.code_commit, run.data_commit, run.run_id, "none"
    )
    with tempfile.TemporaryDirectory(prefix="shoploom-sign-") as folder:
        report = None
        if "validate" in lock:
            report = fetch_output(settings, run, "data/validate/report.json", Path(folder) / "report.json")
        release = sign_release(settings, made, lock, (verdict, {}), report)
    record(settings, "sign", f"version {version}", release=release, why="registered by an older shoploom")
    return release

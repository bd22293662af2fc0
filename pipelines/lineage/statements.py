"""in-toto statements about a version: how each stage was run, what was tested, who let it out.

===================  ==========================================  ====================================================
what                 predicate                                   subject
===================  ==========================================  ====================================================
a stage              SLSA provenance v1                          the stage's outputs, by their hashes in DVC
validation, gate     in-toto test-result v0.1                    the stage ``validate``'s outputs; the package
approval, override   ``urn:shoploom:approval:v1``, ``override``  the package
a release            ``urn:shoploom:release:v1``                 the package; names every statement above by its hash
a file               ``urn:shoploom:file:v1``                    a file that no package holds, by its SHA-256
===================  ==========================================  ====================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pipelines.lineage.audit import canonical

Statement = dict[str, Any]

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
APPROVAL = "urn:shoploom:approval:v1"
OVERRIDE = "urn:shoploom:override:v1"
RELEASE = "urn:shoploom:release:v1"
SIGNED_FILE = "urn:shoploom:file:v1"
PACKAGE = "package"
"""The name of the subject that is a registered version's package; its digest is the one in the registry."""


def statement_hash(statement: Statement) -> str:
    """SHA-256 of a statement's canonical form."""
    return hashlib.sha256(canonical(statement)).hexdigest()


def provenance(stage: str, lock_entry: Mapping[str, Any], run: Mapping[str, str]) -> Statement:
    """How a stage's outputs were made.

    Args:
        stage: its name.
        lock_entry: what DVC recorded: ``cmd``, ``deps``, ``params``, ``outs``.
        run: ``run_id``, ``code`` and ``data`` (the commits that it started from).
    """
    commits = [{"uri": f"git:{name}", "digest": {"gitCommit": run[name]}} for name in ("code", "data")]
    definition = {
        "buildType": "urn:shoploom:stage:v1",
        "externalParameters": {"stage": stage, "params": lock_entry.get("params") or {}},
        "internalParameters": {"command": lock_entry.get("cmd", "")},
        "resolvedDependencies": [*commits, *map(_resource, lock_entry.get("deps") or [])],
    }
    details = {"builder": {"id": "urn:shoploom:stage-runner"}, "metadata": {"invocationId": run["run_id"]}}
    predicate = {"buildDefinition": definition, "runDetails": details}
    return _statement(PROVENANCE, map(_resource, lock_entry.get("outs") or []), predicate)


def validation_result(lock_entry: Mapping[str, Any], report: Mapping[str, Any], report_sha256: str) -> Statement:
    """That the run's rows were held to the contract: what was accepted and quarantined, and the report's own hash.

    Args:
        lock_entry: of the stage ``validate``.
        report: its report.
        report_sha256: of the report's file.
    """
    tables = report.get("tables") or {}
    rows = {
        name: {key: int(table.get(key, 0)) for key in ("accepted", "quarantined")} for name, table in tables.items()
    }
    refused = any(row["quarantined"] for row in rows.values())
    return _statement(
        TEST_RESULT,
        map(_resource, lock_entry.get("outs") or []),
        {
            "result": "WARNED" if refused or report.get("warnings") else "PASSED",
            "configuration": [{"name": "report.json", "digest": {"sha256": report_sha256}}],
            "passedTests": [f"validate.{name}" for name in sorted(rows)],
            "rows": rows,
        },
    )


def gate_result(digest: str, verdict: Mapping[str, Any], params: Mapping[str, Any]) -> Statement:
    """What the gate said of a package.

    Args:
        digest: of the package.
        verdict: :meth:`pipelines.registry.gate_verdict.Verdict.as_dict`.
        params: section ``gate``.
    """
    passed = verdict["decision"] == "promote"
    name = f"gate.{verdict['metric']}"
    predicate = {
        "result": "PASSED" if passed else "FAILED",
        "configuration": [{"name": "params.yaml#gate", "annotations": dict(params)}],
        "passedTests" if passed else "failedTests": [name],
        "verdict": dict(verdict),
    }
    return _statement(TEST_RESULT, [package_subject(digest)], predicate)


def release(digest: str, facts: Mapping[str, Any], statements: Iterable[Statement]) -> Statement:
    """All that belongs to a version, by hash, so that nothing of it can be taken away, added or swapped.

    Args:
        digest: of the package.
        facts: ``version``, ``run_commit``, ``code``, ``data``, ``approval`` (none or required), ``signature`` (SHA-256
            of the package's model signature).
        statements: every stage's, the validation's and the gate's.
    """
    named = sorted(statement_hash(statement) for statement in statements)
    return _statement(RELEASE, [package_subject(digest)], {**facts, "statements": named, "time": now()})


def approval(digest: str, version: str, release_hash: str, approver: str, reason: str) -> Statement:
    """That a person approves a release, this one and no other."""
    facts = {"version": version, "release": release_hash, "approver": approver, "reason": reason, "time": now()}
    return _statement(APPROVAL, [package_subject(digest)], facts)


def override(digest: str, version: str, release_hash: str, reason: str, refused: str) -> Statement:
    """That a person lets a release out although something was refused."""
    facts = {"version": version, "release": release_hash, "reason": reason, "refused": refused, "time": now()}
    return _statement(OVERRIDE, [package_subject(digest)], facts)


def signed_file(name: str, sha256: str, facts: Mapping[str, Any]) -> Statement:
    """That these are the bytes of a file that no package holds."""
    return _statement(SIGNED_FILE, [{"name": name, "digest": {"sha256": sha256}}], {**facts, "time": now()})


def package_subject(digest: str) -> dict[str, Any]:
    """A package as a statement's subject."""
    return {"name": PACKAGE, "digest": {"sha256": digest}}


def is_about(statement: Statement, digest: str) -> bool:
    """Whether a package is a statement's subject."""
    return package_subject(digest) in statement.get("subject", [])


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _statement(kind: str, subject: Iterable[Mapping[str, Any]], predicate: Mapping[str, Any]) -> Statement:
    return {
        "_type": STATEMENT,
        "subject": [dict(one) for one in subject],
        "predicateType": kind,
        "predicate": dict(predicate),
    }


def _resource(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A ``deps`` or ``outs`` entry of ``dvc.lock``; a directory's hash is that of DVC's list of its files."""
    digest = str(entry.get("md5", ""))
    kind = "dvcDirectoryMd5" if digest.endswith(".dir") else "md5"
    return {"name": str(entry["path"]), "digest": {kind: digest}}

"""Sign what a training run made: every stage, the validation, the verdict, the package, and the whole as a release."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.artifacts import file_sha256
from pipelines.lineage import statements
from pipelines.lineage.dsse import sign
from pipelines.lineage.evidence import publish
from pipelines.lineage.keys import SigningKey, current_key
from pipelines.settings import Settings


@dataclass(frozen=True)
class Made:
    """What a run made.

    Args:
        version: of the registered model.
        digest: of its package.
        package: the package's folder.
        run_commit: the finished run.
        code: its first parent.
        data: its second parent.
        run_id: the Airflow run.
        approval: none or required, as the run's ``params.yaml`` says.
    """

    version: str
    digest: str
    package: Path
    run_commit: str
    code: str
    data: str
    run_id: str
    approval: str


def sign_release(
    settings: Settings,
    made: Made,
    lock: Mapping[str, Mapping[str, Any]],
    gate: tuple[Mapping[str, Any], Mapping[str, Any]],
    report: Path | None = None,
) -> str:
    """Sign a version and publish the evidence beside it.

    Args:
        settings: the state folder, the registry and the repository.
        made: what the run made.
        lock: stage -> lock entry of the run.
        gate: the verdict and the section ``gate`` that it was reached with.
        report: the validate stage's report; None where the run has no such stage.

    Returns:
        The release's hash, which an approval names.

    Raises:
        TrustError: the signing key is missing.
        RegistryError: MLflow does not answer.
    """
    key = current_key(settings)
    run = {"run_id": made.run_id, "code": made.code, "data": made.data}
    said = [statements.provenance(stage, entry, run) for stage, entry in sorted(lock.items())]
    if report is not None:
        found = json.loads(report.read_text(encoding="utf-8"))
        said.append(statements.validation_result(lock["validate"], found, file_sha256(report)))
    said.append(statements.gate_result(made.digest, *gate))
    signature = sign_package(made.package, key)
    facts = {
        "version": made.version,
        "run_commit": made.run_commit,
        "code": made.code,
        "data": made.data,
        "approval": made.approval,
        "signature": hashlib.sha256(signature).hexdigest(),
    }
    whole = statements.release(made.digest, facts, said)
    publish(settings, made.version, made.digest, [sign(one, key) for one in (*said, whole)], signature)
    return statements.statement_hash(whole)


def sign_package(package: Path, key: SigningKey) -> bytes:
    """The package's signature, as OpenSSF model signing writes it: a Sigstore bundle over the SHA-256 of every file."""
    from model_signing import hashing, signing

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.sig"
        files = hashing.Config().use_file_serialization(hashing_algorithm="sha256")
        config = signing.Config().use_elliptic_key_signer(private_key=key.path).set_hashing_config(files)
        config.sign(package, written)
        return written.read_bytes()

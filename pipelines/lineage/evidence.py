"""Where the signed statements of a version lie: beside it in MLflow, and in git under ``refs/shoploom/evidence/``.

``statements.intoto.jsonl`` is an in-toto bundle: one DSSE envelope a line, only ever added to. ``model.sig`` is the
package's signature in the format of OpenSSF model signing. Neither place is trusted: the signatures are.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.errors import RunError, TrustError
from pipelines.runs.git import NOTHING, Entry, Git
from pipelines.settings import Settings

EVIDENCE = "refs/shoploom/evidence"
FOLDER = "attestations"
"""Artifact folder of the MLflow run that made a version."""
BUNDLE = "statements.intoto.jsonl"
SIGNATURE = "model.sig"


def evidence_ref(digest: str) -> str:
    """The ref of git's copy, by the package's digest."""
    return f"{EVIDENCE}/{digest[:24]}"


def envelopes(files: Mapping[str, bytes]) -> list[bytes]:
    """The envelopes of a bundle, in the order they were added."""
    return [line for line in files.get(BUNDLE, b"").split(b"\n") if line.strip()]


def fetch(settings: Settings, version: str, digest: str) -> dict[str, bytes]:
    """The evidence of a version, as MLflow has it; git's copy where MLflow has lost it.

    Args:
        settings: names the registry and the repository.
        version: of the registered model.
        digest: of its package.

    Returns:
        File name -> content; empty where there never was any.

    Raises:
        RegistryError: MLflow does not answer, or there is no such version.
    """
    from pipelines.registry.store import connect, existing, translated

    client = connect(settings)
    with translated(settings):
        run = str(existing(client, version).run_id)
        names = [found.path for found in client.list_artifacts(run, FOLDER)]
        if names:
            with tempfile.TemporaryDirectory() as folder:
                fetched = Path(client.download_artifacts(run, FOLDER, folder))
                return {path.name: path.read_bytes() for path in fetched.iterdir() if path.is_file()}
    try:
        return git_copy(settings, digest)
    except RunError:
        return {}


def git_copy(settings: Settings, digest: str) -> dict[str, bytes]:
    """git's copy of a version's evidence; empty where there is none."""
    git = Git(settings.repository)
    tip = git.find(evidence_ref(digest))
    names = [entry.path for entry in git.entries(tip)] if tip else []
    return {name: git.read(str(tip), name) or b"" for name in names}


def publish(
    settings: Settings, version: str, digest: str, added: Iterable[bytes], signature: bytes | None = None
) -> None:
    """Add envelopes to a version's bundle, in MLflow and in git.

    Args:
        settings: names the registry and the repository.
        version: of the registered model.
        digest: of its package.
        added: envelopes; those that are there already are not added again.
        signature: of the package; what is there stays by default.

    Raises:
        RegistryError: MLflow does not answer.
        RunError: git failed.
        TrustError: the evidence is not text.
    """
    from pipelines.registry.store import connect, existing, translated

    files = fetch(settings, version, digest)
    lines = dict.fromkeys([*envelopes(files), *added])
    files[BUNDLE] = b"".join(line + b"\n" for line in lines)
    if signature is not None:
        files[SIGNATURE] = signature
    client = connect(settings)
    with translated(settings):
        run = str(existing(client, version).run_id)
        for name in (BUNDLE, SIGNATURE):
            if name in files:
                client.log_text(run, _text(files[name], name), f"{FOLDER}/{name}")
    git, ref = Git(settings.repository), evidence_ref(digest)
    tip = git.find(ref)
    tree = git.write_tree([Entry("100644", git.write_blob(content), name) for name, content in sorted(files.items())])
    commit = git.commit(tree, [tip] if tip else [], f"Evidence of version {version}\n", int(time.time()))
    git.update_ref(ref, commit, tip or NOTHING)


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise TrustError(f"{name} is not text", mend="bring it back from refs/shoploom/evidence") from None

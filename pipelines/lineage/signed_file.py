"""A file that no package holds, signed: beside it an envelope that names it and its SHA-256.

``offers.json`` goes with ``offers.dsse.json``. Both are replaced together; what is read is what was verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.artifacts import atomic_file, file_sha256
from pipelines.errors import TrustError
from pipelines.lineage import statements
from pipelines.lineage.audit import record
from pipelines.lineage.dsse import UnknownKeyError, open_envelope, sign
from pipelines.lineage.keys import current_key
from pipelines.lineage.trust import read_trust
from pipelines.settings import Settings


def envelope_path(path: Path) -> Path:
    """Where the envelope of a file lies."""
    return path.with_suffix(".dsse.json")


@contextmanager
def signed_file(settings: Settings, path: Path, **facts: Any) -> Iterator[Path]:
    """Give a temporary path; what is written there is signed by this machine's key and replaces file and envelope.

    Args:
        settings: the state folder and the repository.
        path: of the file.
        facts: what the statement says besides: plain JSON.

    Raises:
        TrustError: the signing key is missing; nothing was replaced.
        RunError: the audit log takes no entry; nothing was replaced.
    """
    key = current_key(settings)
    with atomic_file(envelope_path(path)) as envelope, atomic_file(path) as temporary:
        yield temporary
        sha256 = file_sha256(temporary)
        said = statements.signed_file(path.name, sha256, facts)
        envelope.write_bytes(sign(said, key))
        record(settings, "sign", f"file {path.name}", sha256=sha256, key=key.fingerprint, **facts)


def open_signed_file(settings: Settings, path: Path, mend: str) -> bytes:
    """Read a file and verify that a trainer whose key counts signed these very bytes.

    Args:
        settings: the state folder and the repository.
        path: of the file.
        mend: the command that writes and signs it.

    Raises:
        TrustError: file or envelope cannot be read, or does not verify; or keys or policy are not what they have to be.
    """
    trust, beside = read_trust(settings), envelope_path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path} cannot be read: {error.strerror}", mend=mend) from None
    try:
        signed = open_envelope(beside.read_bytes(), trust.trainers, str(beside))
    except FileNotFoundError:
        raise TrustError(
            f"{path} is not signed: {beside.name} is missing, or an older shoploom wrote the file", mend=mend
        ) from None
    except OSError as error:
        raise TrustError(f"{beside} cannot be read: {error.strerror}", mend=mend) from None
    except UnknownKeyError as error:
        raise TrustError(error.message, mend=f"{mend}; shoploom keys and policy show whose keys count") from None
    except TrustError as error:
        raise TrustError(error.message, mend=mend) from None
    if signed.statement.get("predicateType") != statements.SIGNED_FILE:
        raise TrustError(f"{beside} is of no file: {signed.statement.get('predicateType')}", mend=mend)
    (subject,) = signed.statement["subject"]
    if subject["name"] != path.name:
        raise TrustError(f"{beside} is of another file, {subject['name']}, and not of {path.name}", mend=mend)
    found, said = hashlib.sha256(content).hexdigest(), subject["digest"]["sha256"]
    if found != said:
        raise TrustError(
            f"{path} is not what key {signed.key[:12]} signed: its SHA-256 is {found[:12]}, that of the signed file "
            f"{said[:12]}",
            mend=mend,
        )
    return content

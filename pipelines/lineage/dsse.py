"""DSSE envelopes: a signed JSON document, its type and its signature (secure-systems-lab/dsse, version 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import TrustError
from pipelines.lineage.audit import canonical
from pipelines.lineage.keys import PublicKey, SigningKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class UnknownKeyError(TrustError):
    """Whose signature it is, does not count here."""


@dataclass(frozen=True)
class Signed:
    """A document whose signature holds.

    Args:
        statement: the document.
        key: fingerprint of the key that signed it.
    """

    statement: dict[str, Any] = field(hash=False)
    key: str


def sign(statement: Mapping[str, Any], key: SigningKey) -> bytes:
    """Sign a document.

    Args:
        statement: plain JSON; signed in its canonical form.
        key: who signs.

    Returns:
        The envelope, canonical JSON on one line.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, SSlibKey

    envelope = Envelope(canonical(statement), PAYLOAD_TYPE, {})
    public = SSlibKey.from_crypto(key.private.public_key(), keyid=key.fingerprint)
    envelope.sign(CryptoSigner(key.private, public))
    return canonical(envelope.to_dict())


def open_envelope(content: bytes, keys: Mapping[str, PublicKey], what: str) -> Signed:
    """Verify an envelope and give what it holds.

    Args:
        content: the envelope.
        keys: by fingerprint: whose signatures count.
        what: how messages name it.

    Raises:
        UnknownKeyError: it is signed by a key that does not count.
        TrustError: it is damaged, or was changed after it was signed.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    try:
        envelope = Envelope.from_dict(json.loads(content))
        signers = list(envelope.signatures)
        statement = json.loads(envelope.payload)
    except Exception as error:
        raise TrustError(
            f"{what} is no signed envelope: {type(error).__name__}", mend="bring it back from a copy"
        ) from error
    if envelope.payload_type != PAYLOAD_TYPE or not isinstance(statement, dict):
        raise TrustError(f"{what} holds {envelope.payload_type!r} and no statement", mend="bring it back from a copy")
    counted = [signer for signer in signers if signer in keys]
    if not counted:
        named = ", ".join(signer[:12] or "none" for signer in signers) or "nobody"
        raise UnknownKeyError(
            f"{what} is signed by key {named}, which is not trusted", mend="shoploom keys shows the keys that are"
        )
    public = SSlibKey.from_crypto(keys[counted[0]].key, keyid=counted[0])
    try:
        envelope.verify([public], 1)
    except VerificationError as error:
        raise TrustError(
            f"{what} was changed after key {counted[0][:12]} signed it", mend="bring it back from a copy"
        ) from error
    return Signed(statement, counted[0])

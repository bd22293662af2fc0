"""Signing keys: a pair of this machine's own, made at first use; rotated ones stay to verify what they signed.

``<home>/keys/signing/`` holds ``ring.json`` (public keys, oldest first; the last signs) and one private key each,
``<fingerprint>.pem``, readable by this user alone. A later key is endorsed by a signature of the one before, and the
audit log names every key when it is made, so a key that somebody slips in is known for what it is.

Keys are ECDSA on P-256: model signing (OpenSSF) takes no Ed25519, and one key signs both statements and packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.artifacts import read_json, write_json
from pipelines.errors import DataError, TrustError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

_COPY = (
    "bring it back from a copy; where it is a machine's own and there is no copy, move the folder keys/signing aside, "
    "which makes a new key at the next signature, and let the policy keep what the lost one signed: shoploom policy "
    "trust NAME FILE.pub --role trainer, for both"
)


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies.

    Args:
        pem: SubjectPublicKeyInfo, PEM.
    """

    pem: str

    @cached_property
    def key(self) -> EllipticCurvePublicKey:
        """The key itself.

        Raises:
            TrustError: this is no public key on P-256.
        """
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            loaded = load_pem_public_key(self.pem.encode())
        except (ValueError, TypeError) as error:
            raise TrustError(
                f"this is no public key in PEM: {error}", mend="shoploom keys new FILE makes one"
            ) from None
        if not isinstance(loaded, EllipticCurvePublicKey) or not isinstance(loaded.curve, SECP256R1):
            raise TrustError("this is no ECDSA key on P-256", mend="shoploom keys new FILE makes one")
        return loaded

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the key's DER form, 64 hexadecimal digits."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()


@dataclass(frozen=True)
class SigningKey:
    """A key that signs.

    Args:
        path: the private key's file, PEM.
        private: the key itself.
    """

    path: Path
    private: EllipticCurvePrivateKey = field(repr=False)

    @cached_property
    def public(self) -> PublicKey:
        """What verifies its signatures."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self.private.public_key()
        return PublicKey(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())

    @property
    def fingerprint(self) -> str:
        """Of the public key."""
        return self.public.fingerprint


def new_key(path: Path) -> SigningKey:
    """Make a key pair: ``path``, readable by this user alone, and ``path`` with ``.pub`` added.

    Raises:
        TrustError: there is a file already.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = SigningKey(path, generate_private_key(SECP256R1()))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise TrustError(f"{path} is there already; a key is never overwritten", mend="name another file") from None
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(made.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        stream.flush()
        os.fsync(stream.fileno())
    path.with_name(f"{path.name}.pub").write_text(made.public.pem, encoding="utf-8")
    return made


def load_key(path: Path) -> SigningKey:
    """Read a private key.

    Raises:
        TrustError: it is missing, others may read it, or it is no private key on P-256.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise TrustError(f"{path} can be read by other users of this machine", mend=f"chmod 600 {path}")
        loaded = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        raise TrustError(f"the private key {path} is missing", mend=_COPY) from None
    except (ValueError, TypeError, OSError) as error:
        raise TrustError(f"{path} is no private key: {error}", mend=_COPY) from None
    if not isinstance(loaded, EllipticCurvePrivateKey):
        raise TrustError(f"{path} is no ECDSA key", mend="shoploom keys new FILE makes one")
    key = SigningKey(path, loaded)
    key.public.key  # noqa: B018  refuses another curve
    return key


def load_public(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        TrustError: it is missing or no public key on P-256.
    """
    try:
        key = PublicKey(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(
            f"{path} cannot be read: {error}", mend="name the .pub file that shoploom keys new made"
        ) from None
    key.key  # noqa: B018  refuses what is no key
    return key


def ring_folder(settings: Settings) -> Path:
    """Where the key pairs of this machine lie."""
    return settings.home / "keys" / "signing"


def ring(settings: Settings) -> dict[str, PublicKey]:
    """Fingerprint -> public key of every key that signed here, oldest first; empty before the first.

    Raises:
        TrustError: the ring is damaged, or a later key is not endorsed by the one before.
    """
    from pipelines.lineage.dsse import open_envelope

    path = ring_folder(settings) / "ring.json"
    if not path.exists():
        return {}
    try:
        listed = [(PublicKey(one["public"]), one.get("endorsed")) for one in read_json(path)["keys"]]
    except (DataError, KeyError, TypeError) as error:
        raise TrustError(f"{path} is no ring of keys: {error}", mend="bring it back from a copy") from None
    keys: dict[str, PublicKey] = {}
    before: PublicKey | None = None
    for key, endorsed in listed:
        if before is not None:
            said = open_envelope(json.dumps(endorsed or {}).encode(), {before.fingerprint: before}, str(path))
            if said.statement.get("key") != key.fingerprint:
                raise TrustError(
                    f"{path}: key {key.fingerprint[:12]} is not endorsed by key {before.fingerprint[:12]} before it",
                    mend="somebody put it there: bring the ring back from a copy",
                )
        keys[key.fingerprint] = before = key
    return keys


def current_key(settings: Settings) -> SigningKey:
    """The key that signs on this machine, made at first use.

    Raises:
        TrustError: the ring has a key whose private half is missing.
    """
    known = ring(settings)
    if not known:
        return _add(settings, None)
    newest = list(known)[-1]
    key = load_key(ring_folder(settings) / f"{newest}.pem")
    if key.fingerprint != newest:
        raise TrustError(f"{key.path} is another key than the ring's {newest[:12]}", mend=_COPY)
    return key


def rotate(settings: Settings) -> SigningKey:
    """Turn to a new key, endorsed by the one before; that one goes on verifying what it signed.

    Raises:
        TrustError: the present private key is missing, so that nothing can endorse a new one.
    """
    return _add(settings, current_key(settings))


def _add(settings: Settings, before: SigningKey | None) -> SigningKey:
    from pipelines.lineage.audit import record
    from pipelines.lineage.dsse import sign

    folder = ring_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = new_key(folder / "new.pem")
    for suffix in ("", ".pub"):
        os.replace(folder / f"new.pem{suffix}", folder / f"{made.fingerprint}.pem{suffix}")
    made = load_key(folder / f"{made.fingerprint}.pem")
    entry: dict[str, Any] = {"public": made.public.pem, "made": datetime.now(UTC).isoformat(timespec="seconds")}
    if before is not None:
        entry["endorsed"] = json.loads(sign({"key": made.fingerprint}, before))
    path = folder / "ring.json"
    listed: list[Mapping[str, Any]] = read_json(path)["keys"] if path.exists() else []
    write_json({"keys": [*listed, entry]}, path)
    record(settings, "key", f"key {made.fingerprint}", before=before.fingerprint if before else None)
    return made

"""Who may do what: people, their keys and their roles, signed by a root key that stays elsewhere.

``<home>/policy.dsse.json`` is the policy. The root key's fingerprint is what an auditor knows by other means; it is
given to a command or by ``SHOPLOOM_ROOT_FINGERPRINT`` and never read from the repository or the state folder. The audit
log names every policy that was in force, so that an older one cannot be put back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.artifacts import atomic_file
from pipelines.errors import TrustError
from pipelines.lineage.dsse import open_envelope, sign
from pipelines.lineage.keys import PublicKey, SigningKey, load_public
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

_KIND = "urn:shoploom:policy:v1"
_GIVE = (
    "give the fingerprint of the root key that you know: --root FINGERPRINT, or export SHOPLOOM_ROOT_FINGERPRINT=..."
)


@dataclass(frozen=True)
class Person:
    """Somebody whose key counts.

    Args:
        name: for people to read.
        public: the key, PEM.
        role: approver or trainer.
        until: last day on which what the key signed counts, ``2027-01-31``; empty: no end.
    """

    name: str
    public: str
    role: str
    until: str = ""

    @property
    def key(self) -> PublicKey:
        """The key."""
        return PublicKey(self.public)

    def may_sign(self, time: str) -> bool:
        """Whether the key counted at a time, ``2026-11-24T21:00:00Z``."""
        return not self.until or time[:10] <= self.until


@dataclass(frozen=True)
class Policy:
    """A policy whose signature holds.

    Args:
        number: counts up with every change.
        approval: none or required.
        people: whose keys count.
        root: fingerprint of the key that signed it.
    """

    number: int
    approval: str
    people: tuple[Person, ...]
    root: str

    def holders(self, role: str) -> dict[str, Person]:
        """Fingerprint -> person of a role."""
        return {person.key.fingerprint: person for person in self.people if person.role == role}


def policy_path(settings: Settings) -> Path:
    """Where the policy lies."""
    return settings.home / "policy.dsse.json"


def asked_root(settings: Settings, root: str = "") -> str:
    """The root key's fingerprint, as it was given: by the command or by the environment; empty where it was not."""
    return (root or settings.root_fingerprint or "").lower().replace(":", "")


def read_policy(settings: Settings, root: str) -> Policy | None:
    """The policy, held to the root's fingerprint; None where there is none and no root was named.

    Args:
        settings: the state folder.
        root: the root key's fingerprint, 64 hexadecimal digits (or its first 16 at least); empty: not known.

    Raises:
        TrustError: there is a policy and no fingerprint to hold it to, or none and a fingerprint; another key signed
            it; it was changed; or it is not the newest.
    """
    from pipelines.lineage.anchors import copies

    path = policy_path(settings)
    if not path.exists():
        if root:
            raise TrustError(
                f"there is no policy {path} to hold to root {root[:12]}", mend="shoploom policy trust --help"
            )
        return None
    content = path.read_bytes()
    embedded = _embedded_root(content, path)
    if not root:
        raise TrustError(
            f"{path} is signed by root key {embedded.fingerprint}, and nobody said that it is the right one", mend=_GIVE
        )
    if len(root) < 16 or not embedded.fingerprint.startswith(root):
        raise TrustError(
            f"{path} is signed by root key {embedded.fingerprint[:16]}, not by {root[:16]}",
            mend="this policy is forged, or the root is another",
        )
    policy = _parse(content, embedded, path)
    recorded = [entry for entry in copies(settings) if entry is not None and entry.action == "policy"]
    newest = int(recorded[-1].details.get("number", 0)) if recorded else 0
    if policy.number != newest:
        raise TrustError(
            f"{path} is policy {policy.number}, and the audit log says that policy {newest} is in force",
            mend="an older policy was put back: bring back the newest from a copy",
        )
    return policy


def change_policy(
    settings: Settings, root: SigningKey, *, trust: Person | None = None, revoke: str = "", approval: str = ""
) -> Policy:
    """Sign a new policy: the present one with a person more or less, or with another rule.

    Args:
        settings: the state folder.
        root: the root key; of the first policy, any.
        trust: who is added; a person of this name and role is replaced.
        revoke: the name of who is taken out.
        approval: none or required; as it was by default.

    Raises:
        TrustError: the present policy is another root's, or there is nobody of that name.
    """
    from pipelines.lineage.audit import record

    known = read_policy(settings, root.fingerprint) if policy_path(settings).exists() else None
    people = list(known.people if known else ())
    if trust is not None:
        people = [one for one in people if (one.name, one.role) != (trust.name, trust.role)] + [trust]
    if revoke:
        if revoke not in {one.name for one in people}:
            raise TrustError(
                f"the policy names no {revoke!r}", mend=f"it names {', '.join(one.name for one in people)}"
            )
        people = [one for one in people if one.name != revoke]
    number = (known.number if known else 0) + 1
    rule = approval or (known.approval if known else "none")
    document = {
        "kind": _KIND,
        "number": number,
        "approval": rule,
        "people": [asdict(one) for one in people],
        "root": root.public.pem,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_file(policy_path(settings)) as temporary:
        temporary.write_bytes(sign(document, root) + b"\n")
    names = [f"{one.name} ({one.role})" for one in people]
    record(settings, "policy", f"policy {number}", number=number, approval=rule, people=names, root=root.fingerprint)
    return Policy(number, rule, tuple(people), root.fingerprint)


def person(name: str, key: Path, role: str, until: str = "") -> Person:
    """Somebody to trust.

    Raises:
        TrustError: the key cannot be read, or ``until`` is no day.
    """
    try:
        day = date.fromisoformat(until).isoformat() if until else ""
    except ValueError:
        raise TrustError(f"{until!r} is no day", mend="write it as 2027-01-31") from None
    return Person(name, load_public(key).pem, role, day)


def draw_policy(policy: Policy | None, console: Console) -> None:
    """A line for each person."""
    if policy is None:
        console.print("there is no policy: shoploom policy trust NAME FILE.pub --role approver --root-key FILE")
        return
    console.print(f"policy {policy.number} of root {policy.root}: approval {policy.approval}", soft_wrap=True)
    for one in policy.people:
        until = f", until {one.until}" if one.until else ""
        console.print(f"  {one.name} ({one.role}) {one.key.fingerprint}{until}", markup=False, soft_wrap=True)


def names_of(people: Iterable[Person]) -> str:
    """Names, for a message."""
    return ", ".join(sorted(person.name for person in people)) or "nobody"


def _embedded_root(content: bytes, path: Path) -> PublicKey:
    """The key that a policy says it is signed by; whether it is the right one is for the caller to judge."""
    from base64 import b64decode

    try:
        return PublicKey(str(json.loads(b64decode(json.loads(content)["payload"]))["root"]))
    except (ValueError, KeyError, TypeError) as error:
        raise TrustError(f"{path} is no policy: {type(error).__name__}", mend="bring it back from a copy") from None


def _parse(content: bytes, root: PublicKey, path: Path) -> Policy:
    document: dict[str, Any] = open_envelope(content, {root.fingerprint: root}, str(path)).statement
    try:
        if document["kind"] != _KIND or document["approval"] not in ("none", "required"):
            raise ValueError(document["kind"])
        people = tuple(Person(**one) for one in document["people"])
        return Policy(int(document["number"]), document["approval"], people, root.fingerprint)
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError(
            f"{path} is no policy that this version reads: {error}", mend="sign it again: shoploom policy"
        ) from None

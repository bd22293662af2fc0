"""May a registered version be served? Its signatures, every byte of its package, the gate's verdict, the approval.

    keys ──> statements ──> release ──> package ──> registry ──> gate ──> approval
      \\          \\            \\            \\            \\         \\          \\
       ring,       each         names all    every file   MLflow's  promote    an approver's key,
       policy      envelope     statements   by SHA-256   tags                 not the trainer's

A signed override stands in for the gate and the approval, and for nothing else. This is asked before a promotion and by
the server before it swaps; it reads MLflow, git and the state folder, and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import ShoploomError, TrustError
from pipelines.lineage import statements as kinds
from pipelines.lineage.dsse import Signed, UnknownKeyError, open_envelope
from pipelines.lineage.evidence import SIGNATURE, envelopes, evidence_ref, fetch
from pipelines.lineage.keys import PublicKey
from pipelines.lineage.policy import Person, names_of
from pipelines.lineage.trust import Trust, read_trust
from pipelines.settings import Settings

EXCUSABLE = ("gate", "approval")
"""What a signed override stands in for."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: keys, statements, release, package, registry, gate or approval.
        holds: whether it is as it has to be.
        message: one sentence; of what does not hold, it names what broke.
    """

    name: str
    holds: bool
    message: str


@dataclass(frozen=True)
class Standing:
    """What the evidence says of a version.

    Args:
        version: of the registered model.
        digest: of its package.
        checks: in the order above, up to the first that nothing can be said beyond.
        release: the release's hash, which approvals name; empty where there is none.
        approved_by: who approved it; empty: nobody.
        override: the reason of a signed override; empty: there is none.
        facts: what the release says: run commit, code, data.
        outputs: stage -> output -> its hash in DVC, as signed.
    """

    version: str
    digest: str
    checks: tuple[Check, ...]
    release: str = ""
    approved_by: str = ""
    override: str = ""
    facts: dict[str, Any] = field(default_factory=dict, hash=False)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict, hash=False)

    @property
    def broken(self) -> tuple[Check, ...]:
        """What does not hold, and no override stands in for."""
        return tuple(
            check for check in self.checks if not check.holds and not (self.override and check.name in EXCUSABLE)
        )

    @property
    def awaits_approval(self) -> bool:
        """Whether an approval is all that is missing."""
        return [check.name for check in self.broken] == ["approval"]

    def require(self) -> None:
        """Go on only with what holds.

        Raises:
            TrustError: the version may not be served; the message names what broke.
        """
        for check in self.broken:
            mends = {
                "approval": f"shoploom approve {self.version} --key FILE",
                "statements": f"if you know that it is right: shoploom keys sign {self.version}",
                "keys": f"shoploom keys; of an older shoploom's version: shoploom keys sign {self.version}",
            }
            raise TrustError(
                f"version {self.version} does not verify: {check.name}: {check.message}",
                mend=mends.get(check.name, f"shoploom verify {self.version} says more"),
            )


@dataclass
class _Look:
    """What is known of a version while it is looked at."""

    version: str
    digest: str
    package: Path
    tags: Mapping[str, str]
    required: bool
    trust: Trust = field(default_factory=Trust)
    files: dict[str, bytes] = field(default_factory=dict)
    signed: list[Signed] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    release: Signed | None = None
    approved_by: str = ""
    override: str = ""

    @property
    def release_hash(self) -> str:
        return kinds.statement_hash(self.release.statement) if self.release else ""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the release says."""
        assert self.release is not None
        found: Mapping[str, Any] = self.release.statement["predicate"]
        return found

    def of_kind(self, kind: str) -> list[Signed]:
        return [one for one in self.signed if one.statement.get("predicateType") == kind]

    def verdict_of(self, release: Signed) -> Mapping[str, Any] | None:
        """The gate's, as a release has it."""
        named = set(release.statement["predicate"]["statements"])
        for one in self.of_kind(kinds.TEST_RESULT):
            judged = one.statement["predicate"].get("verdict")
            if judged and kinds.is_about(one.statement, self.digest) and kinds.statement_hash(one.statement) in named:
                return dict(judged)
        return None


def verify_version(settings: Settings, version: str, package: Path, root: str = "") -> Standing:
    """Look at everything that speaks for a version.

    Args:
        settings: the registry, the repository and the state folder.
        version: of the registered model.
        package: the folder that is to be served: these very bytes are looked at.
        root: the root key's fingerprint; by default what the environment says.

    Raises:
        RegistryError: MLflow does not answer, or there is no such version.
    """
    from pipelines.lineage.trust import approval_rule
    from pipelines.registry.store import connect, existing, translated

    with translated(settings):
        tags = dict(existing(connect(settings), version).tags or {})
    look = _Look(
        version, tags.get("package_digest", ""), package, tags, approval_rule(settings.repository) == "required"
    )
    checks: list[Check] = []
    steps: tuple[tuple[str, Callable[[], str]], ...] = (
        ("keys", lambda: _keys(settings, look, root)),
        ("statements", lambda: _statements(settings, look)),
        ("release", lambda: _release(look)),
        ("package", lambda: _package(look)),
        ("registry", lambda: _registry(look)),
        ("gate", lambda: _gate(look)),
        ("approval", lambda: _approval(look)),
    )
    for name, step in steps:
        try:
            checks.append(Check(name, True, step()))
        except TrustError as error:
            checks.append(Check(name, False, error.message))
            if name in ("keys", "statements", "release"):
                break
        except ShoploomError as error:
            checks.append(Check(name, False, error.message))
            break
    if look.release is None:
        return Standing(version, look.digest, tuple(checks))
    _override(look)
    said = (look.release_hash, look.approved_by, look.override)
    return Standing(version, look.digest, tuple(checks), *said, dict(look.facts), _outputs(look))


def _keys(settings: Settings, look: _Look, root: str) -> str:
    look.trust = read_trust(settings, root)
    if not look.trust.trainers:
        raise TrustError("no signing key is known here: keys/signing/ring.json is missing")
    policy = look.trust.policy
    look.required = look.required or (policy is not None and policy.approval == "required")
    return f"{len(look.trust.trainers)} of trainers, {len(look.trust.approvers)} of approvers" + (
        f", by policy {policy.number} of root {policy.root[:12]}" if policy else ""
    )


def _statements(settings: Settings, look: _Look) -> str:
    look.files = fetch(settings, look.version, look.digest)
    lines = envelopes(look.files)
    if not lines:
        raise TrustError(
            f"version {look.version} has no signed statements, in MLflow or in {evidence_ref(look.digest)}: it was "
            "registered by an older shoploom, or they were removed"
        )
    for place, line in enumerate(lines, start=1):
        try:
            look.signed.append(open_envelope(line, look.trust.keys, f"statement {place}{_kind_of(line)}"))
        except UnknownKeyError as error:
            look.strangers.append(error.message)
    if not look.signed:
        raise TrustError(look.strangers[0])
    others = f"; {len(look.strangers)} are of keys that do not count" if look.strangers else ""
    return f"{len(look.signed)} signatures hold{others}"


def _release(look: _Look) -> str:
    """Find the release of this version; of several, the newest that the gate let through."""
    found = [one for one in look.of_kind(kinds.RELEASE) if one.key in look.trust.trainers]
    own = [
        one
        for one in found
        if kinds.is_about(one.statement, look.digest) and one.statement["predicate"]["version"] == look.version
    ]
    if not own:
        others = ", ".join(sorted({str(one.statement["predicate"]["version"]) for one in found})) or "none"
        raise TrustError(
            f"no signed release is of version {look.version} with package {look.digest[:12]}; there are releases of "
            f"version {others}" + "".join(f"; {stranger}" for stranger in look.strangers[:1])
        )
    passed = [one for one in own if (look.verdict_of(one) or {}).get("decision") == "promote"]
    look.release = (passed or own)[-1]
    there = {kinds.statement_hash(one.statement) for one in look.signed if one.key in look.trust.trainers}
    gone = [name for name in look.facts["statements"] if name not in there]
    if gone:
        raise TrustError(
            f"{len(gone)} statements that the release names are missing: {', '.join(name[:12] for name in gone)}"
        )
    return f"{look.release_hash[:12]} of run {look.facts['run_commit'][:12]}, signed by key {look.release.key[:12]}"


def _package(look: _Look) -> str:
    """Hold every file to the signed list; the digest in the registry to the files."""
    from pipelines.artifacts import files_sha256
    from pipelines.registry.digests import plain_files

    content = look.files.get(SIGNATURE)
    if content is None:
        raise TrustError(f"the package's signature {SIGNATURE} is missing")
    if hashlib.sha256(content).hexdigest() != look.facts["signature"]:
        raise TrustError(f"the package's signature {SIGNATURE} is not the one that was released")
    signed = _signed_files(content, look.trust.trainers)
    paths = plain_files(look.package)
    names = [path.relative_to(look.package).as_posix() for path in paths]
    there = dict(zip(names, files_sha256(paths), strict=True))
    for name in sorted(signed.keys() - there.keys()):
        raise TrustError(f"{name} is missing from the package")
    for name in sorted(there.keys() - signed.keys()):
        raise TrustError(f"{name} is in the package and was not signed")
    for name, digest in sorted(there.items()):
        if digest != signed[name]:
            raise TrustError(f"{name} of the package is not what was signed")
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(there.items()))
    if hashlib.sha256(listed.encode()).hexdigest() != look.digest:
        raise TrustError(f"the files are signed, but as another package than the registered {look.digest[:12]}")
    return f"{len(there)} files, every byte as signed"


def _registry(look: _Look) -> str:
    """Hold MLflow's tags to what was signed."""
    if look.tags.get("run_commit", "") != look.facts["run_commit"]:
        tagged = look.tags.get("run_commit", "")[:12] or "nothing"
        raise TrustError(f"MLflow's tag run_commit says {tagged}, the release {look.facts['run_commit'][:12]}")
    assert look.release is not None
    judged, said = look.verdict_of(look.release), look.tags.get("gate.decision")
    if judged and said == "promote" and judged["decision"] != said:
        raise TrustError(f"MLflow's tag gate.decision says {said}, the signed verdict {judged['decision']}")
    return "MLflow's tags say what was signed"


def _gate(look: _Look) -> str:
    assert look.release is not None
    judged = look.verdict_of(look.release)
    if judged is None:
        raise TrustError("the release holds no verdict of the gate")
    if judged["decision"] != "promote":
        raise TrustError(f"the gate says {judged['decision']}: {judged['why']}")
    return f"promote{' (dry run)' if judged.get('mode') == 'dry_run' else ''}: {judged['why']}"


def _approval(look: _Look) -> str:
    """Find an approval of this very release, by somebody who may, other than who trained it."""
    if not (look.required or look.facts.get("approval") == "required"):
        return "none is asked for"
    if look.trust.policy is None:
        raise TrustError("an approval is required, and there is no policy that names approvers: shoploom policy trust")
    reasons = []
    for one in look.of_kind(kinds.APPROVAL):
        why = _not_approving(look, one)
        if not why:
            look.approved_by = look.trust.approvers[one.key].name
            return f"by {look.approved_by} ({one.statement['predicate']['time']})"
        reasons.append(why)
    reasons += [stranger for stranger in look.strangers if kinds.APPROVAL in stranger]
    asked = names_of(look.trust.approvers.values())
    raise TrustError("; ".join(reasons) or f"awaiting approval by one of: {asked}")


def _not_approving(look: _Look, one: Signed) -> str:
    """Why a signed approval does not count; empty when it does."""
    assert look.release is not None
    said = one.statement["predicate"]
    person: Person | None = look.trust.approvers.get(one.key)
    if person is None:
        return f"the approval by key {one.key[:12]} is not by an approver"
    if one.key == look.release.key or one.key in look.trust.trainers:
        return f"the approval is signed by the trainer's own key {one.key[:12]}"
    if said["release"] != look.release_hash or not kinds.is_about(one.statement, look.digest):
        return (
            f"the approval by {person.name} is of another release, {said['release'][:12]} (version {said['version']})"
        )
    recorded = look.trust.approved_at.get(kinds.statement_hash(one.statement))
    if recorded is None:
        return f"the approval by {person.name} is not in the audit log"
    if not person.may_sign(max(recorded, said["time"])):
        return f"the key of {person.name} counted until {person.until}"
    return ""


def _override(look: _Look) -> None:
    """A signed override of this very release; where an approval is required, by an approver."""
    required = look.required or look.facts.get("approval") == "required"
    for one in look.of_kind(kinds.OVERRIDE):
        said = one.statement["predicate"]
        allowed = one.key in look.trust.approvers if required else True
        if allowed and said["release"] == look.release_hash and kinds.is_about(one.statement, look.digest):
            look.override = str(said["reason"])


def _outputs(look: _Look) -> dict[str, dict[str, str]]:
    """Of each stage that the release names, its outputs' hashes."""
    named = set(look.facts["statements"])
    stages = {}
    for one in look.of_kind(kinds.PROVENANCE):
        if kinds.statement_hash(one.statement) in named:
            stage = one.statement["predicate"]["buildDefinition"]["externalParameters"]["stage"]
            outs = one.statement["subject"]
            stages[str(stage)] = {str(out["name"]): str(next(iter(out["digest"].values()))) for out in outs}
    return stages


def _signed_files(content: bytes, keys: Mapping[str, PublicKey]) -> dict[str, str]:
    """File -> SHA-256 of a model signature, checked against the keys.

    A bundle names its key by another hash than ours, so each is tried.
    """
    try:
        envelope = json.loads(content)["dsseEnvelope"]
        for fingerprint in keys:
            envelope["signatures"][0]["keyid"] = fingerprint
            try:
                said = open_envelope(json.dumps(envelope).encode(), keys, "the package's signature").statement
                return {one["name"]: one["digest"] for one in said["predicate"]["resources"]}
            except TrustError:
                continue
    except (ValueError, KeyError, TypeError, IndexError):
        raise TrustError("the package's signature is damaged") from None
    raise TrustError("the package's signature is of no trusted key, or was changed")


def _kind_of(line: bytes) -> str:
    """What an envelope says it is, for a message, whether or not it is so."""
    from base64 import b64decode

    try:
        said = json.loads(b64decode(json.loads(line)["payload"]))
        stage = said["predicate"].get("buildDefinition", {}).get("externalParameters", {}).get("stage")
        name = f"stage {stage}" if stage else str(said["predicateType"]).rstrip("/").split("/")[-2:][0]
        return f" ({name})"
    except Exception:
        return ""

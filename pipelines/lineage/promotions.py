"""``shoploom promote``, ``approve``, ``rollback``: the champion moves once all is verified, and it is recorded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.errors import RegistryError, ShoploomError, TrustError
from pipelines.lineage import statements
from pipelines.lineage.anchors import anchor_in_registry
from pipelines.lineage.audit import record
from pipelines.lineage.dsse import sign
from pipelines.lineage.evidence import publish
from pipelines.lineage.keys import current_key, load_key
from pipelines.lineage.trust import read_trust
from pipelines.lineage.verify import EXCUSABLE, Standing, verify_version
from pipelines.registry.gate_verdict import Verdict
from pipelines.registry.promotion import Promotion, champion, promote, put_forward, registered, roll_back, tag_override
from pipelines.settings import Settings

AWAITING = "awaiting approval"


def standing_of(settings: Settings, version: str, root: str = "", *, afresh: bool = False) -> Standing:
    """Verify a registered version, its package fetched where this machine has not got it, or ``afresh``.

    A package that cannot be fetched whole is a finding like any other.

    Raises:
        RegistryError: MLflow does not answer, or there is no such version.
    """
    found = registered(settings, version)
    try:
        kept = None if afresh else found.kept_package()
    except RegistryError:
        kept = None
    if kept is not None:
        return verify_version(settings, version, kept, root)
    with tempfile.TemporaryDirectory(prefix="shoploom-verify-") as folder:
        return verify_version(settings, version, found.fetch_changed(Path(folder) / "package"), root)


def promote_judged(settings: Settings, version: str, verdict: Verdict, run: str) -> Promotion:
    """Promote what a run made, when the gate says so and everything verifies; never waits for a person.

    Returns:
        As :func:`pipelines.registry.promotion.promote`; ``why`` begins with "awaiting approval" where only that is
        missing, and says how to go on.

    Raises:
        TrustError: the gate says promote, and the version does not verify.
        RegistryError: as for ``promote``.
    """
    reigning = champion(settings)
    moves = verdict.decision == "promote" and verdict.mode == "enforce"
    if moves and (reigning is None or reigning.version != version):
        standing = standing_of(settings, version)
        if standing.awaits_approval:
            before = reigning.version if reigning else None
            why = f"{AWAITING}: shoploom approve {version} --key FILE, then shoploom promote {version}"
            moved = Promotion(before, None, moved=False, why=why)
            return _recorded(settings, version, moved, run)
        _require(settings, standing, run)
    return _recorded(settings, version, promote(settings, version, verdict), run)


def promote_version(
    settings: Settings, version: str, override: str = "", key: Path | None = None, root: str = ""
) -> Promotion:
    """Make a version champion that verifies.

    Args:
        settings: the registry, the repository and the state folder.
        version: of the registered model.
        override: a reason to do so although the gate or an approval is missing; it is signed, and shown wherever the
            version is. Broken signatures and changed bytes have no override.
        key: of who overrides; this machine's own by default. Where approval is required it has to be an approver's.
        root: the root key's fingerprint; by default what the environment says.

    Raises:
        TrustError: it does not verify; nothing was moved, and the refusal is in the audit log.
        RegistryError: MLflow does not answer, or there is no such version.
    """
    standing = standing_of(settings, version, root)
    missing = [check for check in standing.checks if not check.holds]
    if override and missing and all(check.name in EXCUSABLE for check in missing):
        signer = load_key(key) if key else current_key(settings)
        refused = "; ".join(f"{check.name}: {check.message}" for check in missing)
        said = statements.override(standing.digest, version, standing.release, override, refused)
        publish(settings, version, standing.digest, [sign(said, signer)])
        facts = {"reason": override, "refused": refused, "key": signer.fingerprint}
        record(settings, "override", f"version {version}", **facts)
        standing = standing_of(settings, version, root)
    _require(settings, standing, "")
    moved = put_forward(settings, version, standing.override or "verified")
    if standing.override:
        tag_override(settings, version, standing.override)
    return _recorded(settings, version, moved, "", override=standing.override or None)


def approve_version(settings: Settings, version: str, key: Path, reason: str = "", root: str = "") -> str:
    """Sign that a version may be promoted.

    Args:
        settings: the registry, the repository and the state folder.
        version: of the registered model.
        key: the approver's private key.
        reason: in a person's words.
        root: the root key's fingerprint; by default what the environment says.

    Returns:
        The approver's name.

    Raises:
        TrustError: the key is not an approver's, or is the trainer's; or the version does not verify otherwise.
    """
    trust = read_trust(settings, root)
    signer = load_key(key)
    person = trust.approvers.get(signer.fingerprint)
    if signer.fingerprint in trust.trainers:
        why = f"key {signer.fingerprint[:12]} is the trainer's own: somebody else has to approve"
        raise _refused(settings, version, TrustError(why, mend="sign with an approver's key: --key FILE"))
    if person is None:
        why = f"key {signer.fingerprint[:12]} is not of an approver that the policy names"
        raise _refused(settings, version, TrustError(why, mend="shoploom policy trust NAME FILE.pub --role approver"))
    standing = standing_of(settings, version, root)
    if any(check.name not in EXCUSABLE for check in standing.broken):
        _require(settings, standing, "")
    said = statements.approval(standing.digest, version, standing.release, person.name, reason)
    record(
        settings, "approve", f"version {version}", approver=person.name, statement=statements.statement_hash(said),
        release=standing.release, reason=reason,
    )  # fmt: skip
    publish(settings, version, standing.digest, [sign(said, signer)])
    return person.name


def roll_back_version(settings: Settings, version: str | None = None) -> Promotion:
    """Give the alias back to a version that was champion before; it has to verify, in seconds.

    Args:
        settings: the registry, the repository and the state folder.
        version: which; the one before by default.

    Raises:
        TrustError: it does not verify.
        RegistryError: there is no such version, or none before.
    """
    from pipelines.registry.promotion import previous_champion

    wanted = version
    if wanted is None:
        earlier = previous_champion(settings)
        wanted = earlier.version if earlier else None
    if wanted is not None:
        _require(settings, standing_of(settings, wanted), "")
    moved = roll_back(settings, wanted)
    record(settings, "rollback", f"version {moved.champion}", previous=moved.previous, why=moved.why)
    anchor_in_registry(settings)
    return moved


def _require(settings: Settings, standing: Standing, run: str) -> None:
    try:
        standing.require()
    except TrustError as error:
        raise _refused(settings, standing.version, error, run) from None


def _refused(settings: Settings, version: str, error: ShoploomError, run: str = "") -> ShoploomError:
    record(settings, "refusal", f"version {version}", run=run, why=error.message)
    return error


def _recorded(settings: Settings, version: str, moved: Promotion, run: str, override: str | None = None) -> Promotion:
    facts = {"champion": moved.champion, "previous": moved.previous, "why": moved.why, "override": override}
    record(settings, "promote" if moved.moved else "refusal", f"version {version}", run=run, **facts)
    anchor_in_registry(settings)
    return moved

"""Whose signatures count here: this machine's own keys, and the people of the policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import ConfigError, TrustError
from pipelines.lineage.keys import PublicKey, ring, ring_folder
from pipelines.lineage.policy import Person, Policy, asked_root, read_policy
from pipelines.settings import Settings


@dataclass(frozen=True)
class Trust:
    """Keys by fingerprint.

    Args:
        trainers: whose statements and releases count.
        approvers: whose approvals count.
        policy: that names them; None where there is none.
        approved_at: when the audit log had each approval, by the approval's hash.
    """

    trainers: dict[str, PublicKey] = field(default_factory=dict)
    approvers: dict[str, Person] = field(default_factory=dict)
    policy: Policy | None = None
    approved_at: dict[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, PublicKey]:
        """All of them."""
        return {**{name: person.key for name, person in self.approvers.items()}, **self.trainers}


def read_trust(settings: Settings, root: str = "") -> Trust:
    """Whose signatures count.

    Where the policy names trainers, these are the only ones; else the keys of this machine's ring are, each of which
    the audit log must have known since it was made.

    Args:
        settings: the state folder and the repository.
        root: the root key's fingerprint; by default what the environment says.

    Raises:
        TrustError: the policy or the ring is not what it has to be.
    """
    from pipelines.lineage.anchors import copies

    known = [entry for entry in copies(settings) if entry is not None]
    policy = read_policy(settings, asked_root(settings, root))
    trainers = {name: person.key for name, person in policy.holders("trainer").items()} if policy else {}
    if not trainers:
        trainers = ring(settings)
        named = {entry.subject for entry in known if entry.action == "key"}
        for fingerprint in trainers:
            if f"key {fingerprint}" not in named:
                raise TrustError(
                    f"{ring_folder(settings)} has key {fingerprint[:12]}, which the audit log never heard of: somebody "
                    "swapped the key",
                    mend="bring the ring back from a copy; shoploom audit --action key",
                )
    approved = {str(entry.details.get("statement")): entry.time for entry in known if entry.action == "approve"}
    return Trust(trainers, policy.holders("approver") if policy else {}, policy, approved)


def approval_rule(folder: Path) -> str:
    """What ``params.yaml`` of a folder asks for before a promotion: none or required.

    Raises:
        ConfigError: the file cannot be read, or says something else.
    """
    from pipelines.params import PromotionParams, load_params

    path = folder / "params.yaml"
    if not path.exists():
        return "none"
    try:
        return load_params(PromotionParams, "promotion", path).approval
    except ConfigError as error:
        if "has no section" in error.message:
            return "none"
        raise

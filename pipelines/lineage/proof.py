"""Whether an event was among those that a model was trained on, with a proof that needs no trust in shoploom.

The stage ``seal`` puts the hashes of the training events' ids under a Merkle root (:mod:`pipelines.merkle`), the run
commit names the root, and so whoever knows the run commit can be shown of any event id that it is in, or is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import RunError
from pipelines.lineage.graph import Missing, find_version_run, out_md5
from pipelines.merkle import Proof, Tree
from pipelines.registry.versions import registered_version
from pipelines.runs.locks import LockEntry
from pipelines.runs.objects import object_path, read_listing, read_object
from pipelines.runs.run_commits import RunCommit, read_lock
from pipelines.settings import Settings

SUMMARY = "data/seal/seal.json"
TREE = "data/seal/tree"


@dataclass(frozen=True)
class Membership:
    """Whether an event was trained on.

    Args:
        version: of the model.
        run_commit: whose message names the root.
        partitions: the first and the last partition that was trained on.
        proof: for ``infra/verify_proof.py``.
    """

    version: str
    run_commit: str
    partitions: tuple[str, str]
    proof: Proof

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        about = {"version": self.version, "run_commit": self.run_commit, "partitions": list(self.partitions)}
        return {**about, "proof": self.proof.to_dict()}


def training_root(settings: Settings, lock: Mapping[str, LockEntry]) -> str:
    """The root over a run's training events; empty where its graph has no stage that makes one."""
    md5 = out_md5(lock, SUMMARY)
    return str(json.loads(read_object(settings, md5))["root"]) if md5 else ""


def membership(settings: Settings, version: str, event_id: str) -> Membership:
    """Prove whether an event was among those that a version was trained on.

    Args:
        settings: the repository, the object store and the registry.
        version: its number or an alias.
        event_id: as the shop spells it.

    Raises:
        RegistryError: there is no such version.
        RunError: its run is gone, or recorded no root; or the tree's bytes are lost or do not give the recorded root.
    """
    registered, gaps = registered_version(settings, version), list[Missing]()
    run = find_version_run(settings, registered, gaps)
    if run is None:
        raise RunError(gaps[0].what, mend=gaps[0].mend)
    sealed, tree = open_tree(settings, run)
    with tree:
        proof = tree.prove(event_id)
    partitions = (str(sealed["first_partition"]), str(sealed["last_partition"]))
    return Membership(registered.version, run.commit, partitions, proof)


def open_tree(settings: Settings, run: RunCommit) -> tuple[dict[str, Any], Tree]:
    """What ``seal.json`` of a run says, and its tree, whose root is the one that the run commit names.

    Raises:
        RunError: as :func:`membership`.
    """
    lock = read_lock(settings, run)
    summary, listing = out_md5(lock, SUMMARY), out_md5(lock, TREE)
    if not run.training_root or not summary or not listing:
        raise RunError(
            f"run {run.commit[:12]} recorded no root of its training events: it is older than that",
            mend="shoploom train makes a version that does; shoploom lineage lists the partitions of this one",
        )
    sealed: dict[str, Any] = json.loads(read_object(settings, summary))
    files = {name: object_path(settings, md5) for name, md5 in read_listing(settings, listing).items()}
    tree = Tree(files["leaves.bin"], files["levels.bin"], int(sealed["skipped_levels"]))
    if tree.root != run.training_root:
        tree.close()
        raise RunError(
            f"{files['levels.bin']} does not give the root that run commit {run.commit[:12]} names: it was changed",
            mend=f"rm -f {files['levels.bin']}, and the same command brings it back from the remote",
        )
    return sealed, tree

"""The tree over training events: its proofs hold for the standalone script, and nothing else does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.merkle import Proof, Tree, leaf_of, write_levels

SCRIPT = Path(__file__).parents[2] / "infra" / "verify_proof.py"
VERIFY = dict[str, object]()
exec(compile(SCRIPT.read_text(), str(SCRIPT), "exec"), VERIFY)


def tree_of(folder: Path, names: list[str], skipped: int = 2) -> Tree:
    leaves, levels = folder / "leaves", folder / "levels"
    leaves.write_bytes(b"".join(sorted(leaf_of(name) for name in names)))
    assert write_levels(leaves, levels, skipped)[0] == len(names)
    return Tree(leaves, levels, skipped)


def holds(proof: dict[str, object], root: str) -> bool:
    verify = VERIFY["verify"]
    assert callable(verify)
    return bool(verify(proof, root))


def top_of(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + top_of(leaves[:split]) + top_of(leaves[split:])).digest()


@pytest.mark.parametrize("skipped", [0, 1, 3])
def test_every_event_and_every_other_is_proved_whatever_the_number_of_leaves(tmp_path: Path, skipped: int) -> None:
    for count in range(1, 40):
        names = [f"event-{i}" for i in range(count)]
        with tree_of(tmp_path, names, skipped) as tree:
            top = top_of(sorted(leaf_of(name) for name in names))
            assert tree.root == hashlib.sha256(b"\x02" + count.to_bytes(8, "big") + top).hexdigest()
            for i in range(-1, count + 1):
                proof = tree.prove(f"event-{i}")
                assert proof.present == (0 <= i < count)
                assert holds(json.loads(json.dumps(proof.to_dict())), tree.root) == proof.present


@given(
    st.integers(min_value=2, max_value=30),
    st.integers(min_value=0, max_value=40),
    st.sampled_from(["present", "count", "index", "leaf", "path", "name", "drop", "upper", "neighbour"]),
)
def test_a_changed_proof_never_says_the_opposite(
    tmp_path_factory: pytest.TempPathFactory, count: int, which: int, change: str
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    with tree_of(folder, [f"event-{i}" for i in range(count)]) as tree:
        honest = tree.prove(f"event-{which}")
        forged = json.loads(json.dumps(honest.to_dict()))
        leaf = forged["leaves"][0]
        if change == "present":
            forged["present"] = not forged["present"]
        elif change == "count":
            forged["count"] += 1
        elif change == "index":
            leaf["index"] ^= 1
        elif change == "leaf":
            leaf["leaf"] = leaf_of("another").hex()
        elif change == "path":
            leaf["path"] = [*leaf["path"], "00" * 32]
        elif change == "name":
            forged["name"] = f"event-{(which + 1) % count}"
        elif change == "drop":
            forged["leaves"] = forged["leaves"][1:]
        else:
            forged["present"] = False
            leaf["leaf"] = leaf["leaf"].upper() if change == "upper" else leaf["leaf"]
            others = [tree.prove(f"event-{i}").to_dict()["leaves"][0] for i in range(count)]
            forged["leaves"] = [leaf, *(one for one in others if one["index"] == leaf["index"] + 1)]
        expected = tree.prove(forged["name"]).present
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            assert holds(forged, tree.root) == expected


def test_a_proof_of_ten_million_events_is_short() -> None:
    levels = (10_000_000 - 1).bit_length()
    neighbour = {"index": 9_999_999, "leaf": "f" * 64, "path": ["f" * 64] * levels}
    proof = {"format": 1, "name": "event-9999999", "present": False, "count": 10_000_000, "root": "f" * 64}
    assert len(json.dumps({**proof, "leaves": [neighbour, neighbour]})) < 4096


def test_script_says_what_it_found_and_refuses_another_root(tmp_path: Path) -> None:
    with tree_of(tmp_path, ["a", "b", "c"]) as tree:
        root = tree.root
        for name, told in (("b", "is among the 3 events"), ("d", "is NOT among")):
            (tmp_path / "proof.json").write_text(json.dumps({"proof": tree.prove(name).to_dict()}))
            assert told in run(tmp_path / "proof.json", root)
        assert "does not lead to this root" in run(tmp_path / "proof.json", "0" * 64)
    (tmp_path / "proof.json").write_text("{}")
    assert "REFUSED" in run(tmp_path / "proof.json", root)
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) <= 60
    assert "pipelines" not in SCRIPT.read_text()


def run(*arguments: object) -> str:
    command = [sys.executable, "-I", "-S", "-O", str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_damaged_files_are_no_tree(tmp_path: Path) -> None:
    tree_of(tmp_path, ["a", "b", "c", "d", "e"]).close()
    with tree_of(tmp_path, [f"event-{i}" for i in range(9)], 1) as tree:
        (tmp_path / "damaged").write_bytes(bytes(4 * 32) + (tmp_path / "levels").read_bytes()[4 * 32 :])
        damaged = Tree(tmp_path / "leaves", tmp_path / "damaged", 1)
        assert damaged.root == tree.root
        with pytest.raises(DataError, match="damaged"):
            [damaged.prove(f"event-{i}") for i in range(9)]
    (tmp_path / "levels").write_bytes(b"\0" * 32)
    with pytest.raises(DataError, match="is not the tree over"):
        Tree(tmp_path / "leaves", tmp_path / "levels", 2)
    (tmp_path / "leaves").write_bytes(b"\0" * 33)
    with pytest.raises(DataError, match="no whole number of hashes"):
        Tree(tmp_path / "leaves", tmp_path / "levels", 2)


def test_proof_is_plain_json() -> None:
    assert Proof("a", True, 1, "r", ()).to_dict() == {
        "format": 1, "name": "a", "present": True, "count": 1, "root": "r", "leaves": (),
    }  # fmt: skip

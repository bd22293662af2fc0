#!/usr/bin/env python3
"""Check a proof of `shoploom lineage model:7 --row EVENT_ID --json`: python verify_proof.py PROOF.json ROOT

ROOT comes from whoever vouches for the model (line Shoploom-Training-Root of its run commit), never from the proof.
"""

import hashlib
import json
import sys


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def require(holds, why):
    if not holds:
        raise ValueError(why)


def root_of(leaf, count):
    node, index, path = bytes.fromhex(leaf["leaf"]), leaf["index"], list(leaf["path"])
    require(0 <= index < count and len(node) == 32, "a leaf lies outside the tree")
    while count > 1:
        if index ^ 1 < count:  # a last node without a neighbour rises as it is
            other = bytes.fromhex(path.pop(0))
            node = sha256(b"\x01", other, node) if index & 1 else sha256(b"\x01", node, other)
        index, count = index // 2, (count + 1) // 2
    require(not path, "a path is too long")
    return node


def verify(proof, root):
    count, leaves, wanted = proof["count"], proof["leaves"], sha256(b"\x00", proof["name"].encode())
    for leaf in leaves:
        found = sha256(b"\x02", count.to_bytes(8, "big"), root_of(leaf, count)).hex()
        require(found == root, "the proof does not lead to this root")
    (first, low), (last, high) = ((leaf["index"], bytes.fromhex(leaf["leaf"])) for leaf in (leaves[0], leaves[-1]))
    if proof["present"] is True:
        require(len(leaves) == 1 and low == wanted, "the leaf is not the event's")
    elif len(leaves) == 2:
        require(last == first + 1, "the leaves are not beside each other")
        require(low < wanted < high, "the event would not lie between these leaves")
    else:
        beside = (first == 0 and wanted < low) or (first == count - 1 and wanted > low)
        require(len(leaves) == 1 and beside, "the event would not lie beside this leaf")
    return proof["present"] is True


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as stream:
            given = json.load(stream)["proof"]
        told = "among" if verify(given, sys.argv[2].lower()) else "NOT among"
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        sys.exit(f"REFUSED: {error!r}" if len(sys.argv) == 3 else __doc__)
    print(f"event {given['name']!r} is {told} the {given['count']:,} events that the model was trained on")

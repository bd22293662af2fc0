"""Pseudonyms: the chain of keys, the key ring's file, and what stays wrong of a wrong id."""

from __future__ import annotations

import hashlib
import hmac
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import ConfigError
from pipelines.pseudonyms import (
    LONGEST_ID,
    KeyRing,
    key_of,
    open_ring,
    read_ring,
    ring_path,
    stored_id,
    write_ring,
)

FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))
RING = KeyRing((FIRST, SECOND))


def test_pseudonym_is_the_hmac_of_the_pseudonym_before() -> None:
    first = hmac.new(FIRST, b"1158", hashlib.sha256).hexdigest()[:32]
    assert RING.through(RING.ids[0]).pseudonym("1158") == first
    assert RING.pseudonym("1158") == hmac.new(SECOND, first.encode(), hashlib.sha256).hexdigest()[:32]


@given(st.text(min_size=1, max_size=20))
def test_keys_after_one_turn_its_pseudonyms_into_todays(raw: str) -> None:
    old = RING.through(RING.ids[0])
    assert RING.after(RING.ids[0]).pseudonym(old.pseudonym(raw)) == RING.pseudonym(raw)
    assert RING.after("").pseudonym(raw) == RING.pseudonym(raw)
    assert RING.after(RING.ids[-1]).pseudonym("same") == "same"


def test_column_hashes_every_id_and_leaves_what_is_absent() -> None:
    hashed = RING.column(pa.chunked_array([["1", None, ""], ["1", "Jürgen"]]))
    one = RING.pseudonym("1")
    assert hashed.to_pylist() == [one, None, "", one, RING.pseudonym("Jürgen")]
    assert RING.column(pa.chunked_array([[]], pa.string())).to_pylist() == []


def test_an_id_that_the_contract_refuses_gives_a_pseudonym_that_it_refuses() -> None:
    raw = pa.array([b"\xffjo", b"a" * (LONGEST_ID + 1), "ü".encode() * LONGEST_ID], pa.binary())
    damaged, long, longest = RING.column(pa.chunked_array([raw])).cast(pa.binary()).to_pylist()
    with pytest.raises(UnicodeDecodeError):
        damaged.decode()
    assert len(long) > LONGEST_ID >= len(longest)


def test_table_notes_the_key_and_hides_the_order_of_users() -> None:
    users = pa.table({"user_id": [f"{user}" for user in range(50)]}).replace_schema_metadata({"other": "kept"})
    hashed = RING.table(users)
    assert key_of(hashed.schema) == RING.ids[-1]
    assert hashed.schema.metadata[b"other"] == b"kept"
    assert hashed["user_id"].to_pylist() == sorted(RING.pseudonym(f"{user}") for user in range(50))
    items = pa.table({"item_id": ["1"]})
    assert RING.table(items) is items


def test_ring_is_made_once_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: open_ring(tmp_path), range(16)))
    assert len(set(made)) == 1
    assert stat.S_IMODE(ring_path(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(ring_path(tmp_path).parent.stat().st_mode) == 0o700
    assert [path.name for path in ring_path(tmp_path).parent.iterdir()] == ["users.json"]


def test_ring_that_others_can_read_is_refused(tmp_path: Path) -> None:
    open_ring(tmp_path)
    ring_path(tmp_path).chmod(0o644)
    with pytest.raises(ConfigError, match=r"can be read by other users.*\n  -> chmod 600"):
        read_ring(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"keys": []}', '{"keys": ["00"]}', '{"keys": ["xyz"]}'])
def test_damaged_ring_is_refused(tmp_path: Path, text: str) -> None:
    open_ring(tmp_path)
    ring_path(tmp_path).write_text(text)
    with pytest.raises(ConfigError, match="is no key ring"):
        read_ring(tmp_path)


def test_stored_id_needs_the_key_that_the_ids_were_made_with(tmp_path: Path) -> None:
    assert stored_id("1158", "", tmp_path) == "1158"
    with pytest.raises(ConfigError, match=r"there is no key ring .*users.json\n  -> copy it from"):
        stored_id("1158", RING.ids[0], tmp_path)
    write_ring(RING, tmp_path)
    assert stored_id("1158", RING.ids[0], tmp_path) == KeyRing((FIRST,)).pseudonym("1158")
    assert stored_id("1158", RING.ids[1], tmp_path) == RING.pseudonym("1158")
    write_ring(KeyRing((SECOND,)), tmp_path)
    with pytest.raises(ConfigError, match=f"made with key {RING.ids[0]}, and the key ring here has only"):
        stored_id("1158", RING.ids[0], tmp_path)

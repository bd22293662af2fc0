"""Keys of users and data versions: which key a load uses, and turning to a new one without any raw id."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.artifacts import read_table, write_table
from pipelines.errors import ConfigError, DataError, RunError
from pipelines.orchestration.doctor import examine
from pipelines.pseudonyms import KeyRing, key_of, open_ring, read_ring, ring_path, write_ring
from pipelines.runs import user_keys
from pipelines.runs.data_versions import DataVersion, Onto, commit_landing, latest_data_version
from pipelines.runs.git import Git
from pipelines.runs.store import Store
from pipelines.runs.user_keys import key_for_load, rekey
from pipelines.settings import Settings
from tests.repositories import new_repository
from tests.tiny_shop import FIRST_DAY, KEYS, land_tiny_shop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = new_repository(tmp_path / "code", home=tmp_path / "home")
    write_ring(KEYS, settings.home)
    return settings


@pytest.fixture
def version(settings: Settings, tmp_path: Path) -> DataVersion:
    land_tiny_shop(tmp_path / "landing", FIRST_DAY.replace(day=14))
    return commit_landing(settings, tmp_path / "landing", "Land two weeks")


def users_of(settings: Settings, version: DataVersion) -> dict[str, tuple[str, set[str]]]:
    """The key and the users of every stored file that has users."""
    store = Store(settings)
    try:
        found = {}
        for table in ("events", "users", "unplaced"):
            for file in store.files(version.listings[table]):
                rows = read_table(store.cache_path(file.md5))
                found[f"{table}/{file.path}"] = (key_of(rows.schema), set(rows["user_id"].to_pylist()))
        return found
    finally:
        store.close()


def hashed(ring: KeyRing) -> set[str]:
    return {ring.pseudonym(f"user-{user:02d}") for user in range(24)}


def test_version_says_under_which_key_its_users_are_known(settings: Settings, version: DataVersion) -> None:
    assert version.user_key == KEYS.ids[0] == key_for_load(settings)
    assert latest_data_version(settings) == DataVersion(
        version.commit, version.listings, version.date, (), version.user_key
    )
    assert users_of(settings, version)["events/2024-W01.parquet"] == (KEYS.ids[0], hashed(KEYS))


def test_rekey_makes_a_version_under_a_new_key_and_keeps_the_old_one(settings: Settings, version: DataVersion) -> None:
    made = rekey(settings)
    ring = read_ring(settings.home)
    assert ring is not None
    assert ring.secrets[0] == KEYS.secrets[0]
    after = latest_data_version(settings)
    assert after is not None
    assert (made.commit, made.key, made.partitions) == (after.commit, ring.ids[1], 4)
    assert after.user_key == ring.ids[1] == key_for_load(settings)
    assert {
        name: (ring.ids[1], hashed(ring) if users else set()) for name, (_, users) in users_of(settings, after).items()
    } == users_of(settings, after)
    assert users_of(settings, version)["events/2024-W01.parquet"] == (KEYS.ids[0], hashed(KEYS))
    assert Git(settings.repository).parents(after.commit) == [version.commit]
    assert after.listings["items"] == version.listings["items"]


def test_a_load_under_the_key_from_before_is_refused_and_one_under_the_new_key_is_what_is_there(
    settings: Settings, version: DataVersion, tmp_path: Path
) -> None:
    rekey(settings)
    with pytest.raises(DataError, match=rf"this landing by pseudonyms under key {KEYS.ids[0]}\n  -> shoploom ingest"):
        commit_landing(settings, tmp_path / "landing", "Land two weeks")
    land_tiny_shop(tmp_path / "again", FIRST_DAY.replace(day=14), open_ring(settings.home))
    assert commit_landing(settings, tmp_path / "again", "Land two weeks").changed == ()


def test_rekey_that_died_before_its_version_is_taken_up(settings: Settings, version: DataVersion) -> None:
    pending = KEYS.rotated()
    write_ring(pending, settings.home)
    assert key_for_load(settings) == KEYS.ids[0]
    assert rekey(settings).key == pending.ids[1]
    assert read_ring(settings.home) == pending


def test_rekey_begins_again_when_a_load_came_between(
    settings: Settings, version: DataVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_tiny_shop(tmp_path / "late", FIRST_DAY.replace(day=21))

    def commit(settings: Settings, folder: Path, message: str, onto: Onto | None) -> DataVersion:
        monkeypatch.undo()
        commit_landing(settings, tmp_path / "late", "Land three weeks")
        return commit_landing(settings, folder, message, onto)

    monkeypatch.setattr(user_keys, "commit_landing", commit)
    assert rekey(settings).partitions == 5
    after = latest_data_version(settings)
    assert after is not None
    assert {key for key, _ in users_of(settings, after).values()} == {after.user_key}


def test_a_lost_or_foreign_ring_stops_a_load_and_a_rekey(settings: Settings, version: DataVersion) -> None:
    ring_path(settings.home).unlink()
    for action in (key_for_load, rekey):
        with pytest.raises(ConfigError, match=rf"under key {KEYS.ids[0]}, and there is no key ring .*\n  -> copy it"):
            action(settings)
    assert read_ring(settings.home) is None, "a ring was made that nothing was hashed with"
    open_ring(settings.home)
    for action in (key_for_load, rekey):
        with pytest.raises(ConfigError, match=rf"made with key {KEYS.ids[0]}, and the key ring here has only"):
            action(settings)


def test_doctor_says_whether_the_users_can_be_asked_for(settings: Settings, version: DataVersion) -> None:
    def found() -> dict[str, str]:
        return next(finding for finding in examine(settings) if finding["name"] == "user keys")

    assert found()["state"] == "fine"
    ring_path(settings.home).chmod(0o640)
    assert (found()["state"], found()["mend"]) == ("broken", f"chmod 600 {ring_path(settings.home)}")
    ring_path(settings.home).unlink()
    assert (found()["state"], "is lost" in found()["detail"]) == ("broken", True)
    open_ring(settings.home)
    assert (found()["state"], "has only" in found()["detail"]) == ("broken", True)
    Git(settings.repository).delete_ref("refs/heads/data/main", version.commit)
    assert found()["state"] == "fine"


def test_raw_ids_of_an_older_version_are_hashed_by_rekey(
    settings: Settings, version: DataVersion, tmp_path: Path
) -> None:
    Git(settings.repository).delete_ref("refs/heads/data/main", version.commit)
    raw = tmp_path / "landing" / "events" / "2024-W01.parquet"
    rows = read_table(raw)
    named = rows.set_column(1, rows.schema.field(1), [["user-07"] * rows.num_rows])
    for path in (tmp_path / "landing" / "events").iterdir():
        write_table(named.replace_schema_metadata(None), path)
    for table in ("users", "unplaced"):
        path = tmp_path / "landing" / table / f"{table}.parquet"
        write_table(read_table(path).replace_schema_metadata(None), path)
    commit_landing(settings, tmp_path / "landing", "Land as it was done before there were keys")
    with pytest.raises(ConfigError, match=r"raw user ids\n  -> shoploom users rekey"):
        key_for_load(settings)
    rekey(settings)
    after = latest_data_version(settings)
    assert after is not None
    assert users_of(settings, after)["events/2024-W01.parquet"] == (KEYS.ids[0], {KEYS.pseudonym("user-07")})


def test_rekey_without_data_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(RunError, match="no data version with users yet\n  -> shoploom ingest"):
        rekey(settings)

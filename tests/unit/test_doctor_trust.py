"""What doctor says of signing keys, the policy and the audit log, whole and broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.lineage.audit import log_path, record
from pipelines.lineage.keys import current_key, new_key, ring_folder, rotate
from pipelines.lineage.policy import change_policy, person, policy_path
from pipelines.orchestration.doctor_trust import audit_log, policy, signing_keys
from pipelines.settings import Settings
from tests.repositories import new_repository


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return new_repository(tmp_path / "shop", home=tmp_path / "home")


def told(found: object) -> tuple[str, str, str]:
    """State, detail and mend of the only finding."""
    ((_, state, detail, mend),) = found  # type: ignore[misc]
    return state, detail, mend


def test_signing_keys_that_were_lost_opened_or_swapped_are_named(settings: Settings, tmp_path: Path) -> None:
    assert told(signing_keys(settings))[0] == "note"
    first, second = current_key(settings), rotate(settings)
    state, detail, _ = told(signing_keys(settings))
    assert (state, "1 rotated" in detail, second.fingerprint[:12] in detail) == ("fine", True, True)

    second.path.chmod(0o640)
    assert told(signing_keys(settings))[::2] == ("broken", f"chmod 600 {second.path}")
    second.path.chmod(0o600)
    ring_folder(settings).chmod(0o755)
    states = [(state, mend) for _, state, _, mend in signing_keys(settings)]
    assert states[0] == ("broken", f"chmod 700 {ring_folder(settings)}")
    ring_folder(settings).chmod(0o700)

    second.path.rename(tmp_path / "aside.pem")
    state, detail, mend = told(signing_keys(settings))
    assert (state, detail) == ("broken", f"the private key {second.path} is missing")
    assert "from a copy" in mend

    kept = shutil.move(ring_folder(settings), tmp_path / "kept")
    state, detail, mend = told(signing_keys(settings))
    assert (state, "is lost: the audit log knows of 2" in detail) == ("broken", True)
    assert "bring keys/signing back" in mend
    shutil.move(kept, ring_folder(settings))
    (tmp_path / "aside.pem").rename(second.path)
    log = log_path(settings)
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    state, detail, _ = told(signing_keys(settings))
    assert (state, second.fingerprint[:12] in detail) == ("broken", True)
    assert first.fingerprint[:12] not in detail


def test_policy_is_held_to_the_root_and_to_approvers_whose_keys_count_today(settings: Settings, tmp_path: Path) -> None:
    assert told(policy(settings))[0] == "fine"
    root, _ = new_key(tmp_path / "root.pem"), new_key(tmp_path / "ann.pem")
    change_policy(settings, root, trust=person("ann", tmp_path / "ann.pem.pub", "approver"), approval="required")
    state, _, mend = told(policy(settings))
    assert (state, "SHOPLOOM_ROOT_FINGERPRINT" in mend) == ("broken", True)
    known = settings.model_copy(update={"root_fingerprint": root.fingerprint})
    assert told(policy(known))[:2] == (
        "fine",
        f"1 of root {root.fingerprint[:16]}: approval required, approvers ann",
    )
    change_policy(known, root, trust=person("ann", tmp_path / "ann.pem.pub", "approver", "2020-01-01"))
    state, detail, _ = told(policy(known))
    assert (state, "none whose key counts today" in detail) == ("broken", True)
    policy_path(settings).write_text("{}")
    assert told(policy(known))[0] == "broken"
    policy_path(settings).unlink()
    assert "there is no policy" in told(policy(known))[1]


def test_audit_log_s_head_is_told_and_held_to_git_s(settings: Settings) -> None:
    assert told(audit_log(settings))[:2] == ("fine", "none yet")
    entries = [record(settings, "land", f"data {number}") for number in range(3)]
    state, detail, _ = told(audit_log(settings))
    assert (state, f"3 entries, head {entries[-1].hash[:12]}" in detail) == ("fine", True)
    log = log_path(settings)
    whole = log.read_bytes()
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    state, detail, mend = told(audit_log(settings))
    assert (state, "ends at entry 2" in detail, "shoploom audit verify" in mend) == ("broken", True, True)
    log.write_bytes(whole + b"{}\n")
    assert "ends with what is no entry" in told(audit_log(settings))[1]
    log.unlink()
    state, detail, mend = told(audit_log(settings))
    assert (state, "git's copy has 3 entries" in detail, "audit restore" in mend) == ("broken", True, True)


def test_trust_of_a_folder_that_is_no_clone_is_told_without_making_anything(tmp_path: Path) -> None:
    bare = Settings(repository=tmp_path, SHOPLOOM_HOME=tmp_path / "home")
    assert [told(look(bare))[0] for look in (signing_keys, policy, audit_log)] == ["note", "fine", "fine"]
    assert not (tmp_path / "home").exists()

"""Attacks on a shop's evidence, each refused or detected by a message that names what broke."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipelines.artifacts import file_sha256, write_json
from pipelines.cli import main
from pipelines.errors import ShoploomError
from pipelines.lineage import anchors, statements
from pipelines.lineage.audit import Entry, canonical, log_path, read, record
from pipelines.lineage.dsse import open_envelope, sign
from pipelines.lineage.evidence import BUNDLE, SIGNATURE, envelopes, evidence_ref, publish
from pipelines.lineage.keys import current_key, load_key, new_key, ring, ring_folder, rotate
from pipelines.lineage.policy import change_policy, person, policy_path
from pipelines.lineage.promotions import approve_version, promote_version, roll_back_version, standing_of
from pipelines.lineage.release import sign_package
from pipelines.lineage.signed_file import envelope_path, open_signed_file, signed_file
from pipelines.lineage.verify_deep import verify_all
from pipelines.registry.promotion import champion
from pipelines.registry.store import CHAMPION
from pipelines.serving.chances import model_path
from tests.governed_shop import Governed, make_governed


@pytest.fixture(scope="module")
def shop(mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield make_governed(mlflow_home, tmp_path_factory.mktemp("governed"), patch)


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def edit_log(shop: Governed, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = log_path(shop.settings).read_bytes().splitlines()
    log_path(shop.settings).write_bytes(b"".join(line + b"\n" for line in change(lines)))


def edit_bundle(shop: Governed, version: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = shop.evidence(version, BUNDLE)
    lines = change(path.read_bytes().splitlines())
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def payload(line: bytes, shop: Governed) -> dict[str, Any]:
    from pipelines.lineage.trust import read_trust

    return open_envelope(line, read_trust(shop.settings).keys, "it").statement


def edit_payload(line: bytes, old: bytes, new: bytes) -> bytes:
    from base64 import b64decode, b64encode

    envelope = json.loads(line)
    changed = b64decode(envelope["payload"]).replace(old, new)
    return canonical({**envelope, "payload": b64encode(changed).decode()})


# What is done to a model, its statements and its signature.


def flip_model_byte(shop: Governed) -> None:
    flip(shop.package_file("1", "catalogue/items.parquet"))


def remove_model_file(shop: Governed) -> None:
    shop.package_file("1", "catalogue/users.parquet").unlink()


def add_model_file(shop: Governed) -> None:
    shop.package_file("1", "catalogue/users.parquet").with_name("extra.json").write_text("{}")


def swap_packages(shop: Governed) -> None:
    for name in ("items.parquet", "users.parquet"):
        shutil.copy(shop.package_file("2", f"catalogue/{name}"), shop.package_file("1", f"catalogue/{name}"))
    kept = shop.settings.home / "champions"
    shutil.rmtree(kept, ignore_errors=True)


def swap_digests(shop: Governed) -> None:
    shop.tag("2", "package_digest", shop.digest("1"))


def swap_packages_and_digests(shop: Governed) -> None:
    swap_packages(shop)
    shop.tag("1", "package_digest", shop.digest("2"))


def flip_signature(shop: Governed) -> None:
    flip(shop.evidence("1", SIGNATURE), 400)


def remove_signature(shop: Governed) -> None:
    shop.evidence("1", SIGNATURE).unlink()


def sign_with_own_key(shop: Governed) -> None:
    package = shop.keys.parent / "package-milk"
    shop.evidence("1", SIGNATURE).write_bytes(sign_package(package, load_key(shop.key("bob"))))


def remove_statements(shop: Governed) -> None:
    shop.evidence("1", BUNDLE).unlink()
    shop.evidence("1", SIGNATURE).unlink()
    shop.git.run("update-ref", "-d", evidence_ref(shop.digest("1")))


def remove_one_statement(shop: Governed) -> None:
    edit_bundle(shop, "1", lambda lines: lines[1:])


def edit_provenance(shop: Governed) -> None:
    code = shop.run.code_commit.encode()
    edit_bundle(shop, "1", lambda lines: [edit_payload(lines[0], code, b"0" * 40), *lines[1:]])


def edit_verdict(shop: Governed) -> None:
    edit_bundle(shop, "1", lambda lines: [*lines[:2], edit_payload(lines[2], b'"users":40', b'"users":99'), *lines[3:]])


def statements_of_another_version(shop: Governed) -> None:
    for name in (BUNDLE, SIGNATURE):
        shutil.copy(shop.evidence("2", name), shop.evidence("1", name))


def garble_statements(shop: Governed) -> None:
    edit_bundle(shop, "1", lambda lines: [b"{}", *lines])


def forge_statements(shop: Governed) -> None:
    """A whole release, signed by a key of the attacker's."""
    key = load_key(shop.key("bob"))
    edit_bundle(shop, "1", lambda lines: [sign(payload(line, shop), key) for line in lines])


def edit_run_tag(shop: Governed) -> None:
    shop.tag("1", "run_commit", "f" * 40)


def rejected_but_tagged(shop: Governed) -> None:
    version = shop.release("butter", decision="reject", champion="1")
    shop.tag(version, "gate.decision", "promote")
    assert version == "3"


# What is done to keys, approvals and the policy.


def approve_oneself(shop: Governed) -> None:
    approve_version(shop.settings, "2", current_key(shop.settings).path)


def trainer_as_approver(shop: Governed) -> None:
    """The trainer's key is named as an approver's too, and approves."""
    own = current_key(shop.settings)
    change_policy(
        shop.settings,
        load_key(shop.key("root")),
        trust=person("eve", own.path.with_name(own.path.name + ".pub"), "approver"),
    )
    standing = standing_of(shop.settings, "2")
    said = statements.approval(standing.digest, "2", standing.release, "eve", "")
    record(shop.settings, "approve", "version 2", statement=statements.statement_hash(said))
    publish(shop.settings, "2", standing.digest, [sign(said, own)])


def approve_as_nobody(shop: Governed) -> None:
    approve_version(shop.settings, "2", shop.key("bob"))


def replay_approval(shop: Governed) -> None:
    """Ann's approval of version 1 beside version 2."""
    approval = shop.evidence("1", BUNDLE).read_bytes().splitlines()[-1]
    edit_bundle(shop, "2", lambda lines: [*lines, approval])


def approve_by_expired_key(shop: Governed) -> None:
    approve_version(shop.settings, "2", shop.key("old"))


def backdate_approval(shop: Governed) -> None:
    """An approval by an expired key that says it is from before, and that the audit log never saw."""
    standing = standing_of(shop.settings, "2")
    said = statements.approval(standing.digest, "2", standing.release, "old", "")
    said["predicate"]["time"] = "2019-01-01T00:00:00Z"
    publish(shop.settings, "2", standing.digest, [sign(said, load_key(shop.key("old")))])


def approve_and_be_revoked(shop: Governed) -> None:
    change_policy(shop.settings, load_key(shop.key("root")), revoke="ann")


def forge_policy(shop: Governed) -> None:
    root = new_key(shop.keys / "forged.pem")
    policy_path(shop.settings).unlink()
    try:
        change_policy(shop.settings, root, trust=person("bob", shop.key("bob").with_name("bob.pem.pub"), "approver"))
    finally:
        for name in ("forged.pem", "forged.pem.pub"):
            (shop.keys / name).unlink()


def edit_policy(shop: Governed) -> None:
    path = policy_path(shop.settings)
    path.write_bytes(edit_payload(path.read_bytes(), b'"approval":"required"', b'"approval":"none"'))


def older_policy(shop: Governed) -> None:
    before = policy_path(shop.settings).read_bytes()
    change_policy(shop.settings, load_key(shop.key("root")), revoke="ann")
    policy_path(shop.settings).write_bytes(before)


def remove_policy(shop: Governed) -> None:
    policy_path(shop.settings).unlink()


def swap_key(shop: Governed) -> None:
    """Another ring, and everything signed again by its key."""
    folder = ring_folder(shop.settings)
    bundle = [payload(line, shop) for line in envelopes({BUNDLE: shop.evidence("1", BUNDLE).read_bytes()})]
    forged = load_key(shop.key("bob"))
    write_json({"keys": [{"public": forged.public.pem, "made": "2026-01-01"}]}, folder / "ring.json")
    edit_bundle(shop, "1", lambda _: [sign(one, forged) for one in bundle])


def slip_a_key_in(shop: Governed) -> None:
    path = ring_folder(shop.settings) / "ring.json"
    listed = json.loads(path.read_text())["keys"]
    write_json({"keys": [*listed, {"public": load_key(shop.key("bob")).public.pem, "made": "2026"}]}, path)


def lose_private_key(shop: Governed) -> None:
    current_key(shop.settings).path.unlink()
    rotate(shop.settings)


def readable_private_key(shop: Governed) -> None:
    current_key(shop.settings).path.chmod(0o644)
    current_key(shop.settings)


def lose_ring(shop: Governed) -> None:
    (ring_folder(shop.settings) / "ring.json").unlink()


# What is done to the audit log, to git and to data.


def edit_entry(shop: Governed) -> None:
    edit_log(shop, lambda lines: [lines[0].replace(b'"rows":8', b'"rows":9'), *lines[1:]])


def rewrite_actor(shop: Governed) -> None:
    """An entry with a right hash, and all that follow made again."""

    def again(lines: list[bytes]) -> list[bytes]:
        made: list[bytes] = lines[:2]
        for line in lines[2:]:
            before = Entry(**json.loads(made[-1])).hash
            forged = replace(Entry(**json.loads(line)), actor="mallory@host", previous=before)
            made.append(replace(forged, hash=forged.own_hash()).line())
        return made

    edit_log(shop, again)


def drop_entry(shop: Governed) -> None:
    edit_log(shop, lambda lines: [*lines[:3], *lines[4:]])


def reorder_entries(shop: Governed) -> None:
    edit_log(shop, lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]])


def truncate_log(shop: Governed) -> None:
    edit_log(shop, lambda lines: lines[:-2])


def truncate_log_and_ref(shop: Governed) -> None:
    anchors.anchor_in_registry(shop.settings)
    truncate_log(shop)
    ref = anchors.audit_ref(shop.settings)
    shop.git.run("update-ref", ref, shop.git.text("rev-parse", f"{ref}~2"))


def lose_log(shop: Governed) -> None:
    log_path(shop.settings).unlink()


def forge_log(shop: Governed) -> None:
    """Another log, whole in itself."""
    first = replace(read(shop.settings)[0], actor="mallory@host")
    edit_log(shop, lambda _: [replace(first, hash=first.own_hash()).line()])


def delete_run_ref(shop: Governed) -> None:
    shop.git.run("update-ref", "-d", shop.run.ref)


def move_run_ref(shop: Governed) -> None:
    """The run's ref names a commit with another ``dvc.lock``."""
    shop.git.run("update-ref", shop.run.ref, shop.run.start)


def change_partition(shop: Governed) -> None:
    flip(shop.cached("data/raw/events", "2017-W01.parquet"), 40)


def change_quarantine(shop: Governed) -> None:
    flip(shop.cached("data/validate", "quarantine.json"), 10)


def change_report(shop: Governed) -> None:
    flip(shop.cached("data/validate", "report.json"), 10)


def change_kept_report(shop: Governed) -> None:
    folder = shop.settings.home / "data_docs" / shop.run.data_commit
    write_json({}, folder / "report.json")
    (folder / "index.html").write_text("")


def point_alias_at_unapproved(shop: Governed) -> None:
    shop.alias(CHAMPION, "2")


def override_a_changed_byte(shop: Governed) -> None:
    flip_model_byte(shop)
    shutil.rmtree(shop.settings.home / "champions")
    promote_version(shop.settings, "1", override="trust me", key=shop.key("ann"))


def override_by_trainer(shop: Governed) -> None:
    promote_version(shop.settings, "2", override="I am in a hurry")


def roll_back_to_changed(shop: Governed) -> None:
    approve_version(shop.settings, "2", shop.key("ann"))
    promote_version(shop.settings, "2")
    flip_model_byte(shop)
    shutil.rmtree(shop.settings.home / "champions")
    roll_back_version(shop.settings)


def offers_model(shop: Governed) -> Path:
    path = model_path(shop.settings.home)
    with signed_file(shop.settings, path) as temporary:
        write_json({}, temporary)
    return path


def change_offers_model(shop: Governed) -> None:
    path = offers_model(shop)
    flip(path, 0)
    open_signed_file(shop.settings, path, "")


def sign_offers_model_as_approver(shop: Governed) -> None:
    """An approver's word is for a release, and not for what a machine fitted."""
    path = offers_model(shop)
    said = statements.signed_file(path.name, file_sha256(path), {})
    envelope_path(path).write_bytes(sign(said, load_key(shop.key("ann"))))
    open_signed_file(shop.settings, path, "")


@dataclass(frozen=True)
class Attack:
    """What is done, of which version it is asked, and what it is answered with."""

    do: Callable[[Governed], None]
    says: str
    version: str = "1"


ATTACKS = [
    Attack(flip_model_byte, r"package: catalogue/items.parquet of the package is not what was signed"),
    Attack(remove_model_file, r"package: catalogue/users.parquet is missing from the package"),
    Attack(add_model_file, r"package: catalogue/extra.json is in the package and was not signed"),
    Attack(swap_packages, r"package: catalogue/items.parquet of the package is not what was signed"),
    Attack(swap_digests, r"release: no signed release is of version 2 with package", "2"),
    Attack(swap_packages_and_digests, r"release: no signed release is of version 1 with package"),
    Attack(flip_signature, r"package: the package's signature model.sig is not the one that was released"),
    Attack(remove_signature, r"package: the package's signature model.sig is missing"),
    Attack(sign_with_own_key, r"package: the package's signature model.sig is not the one that was released"),
    Attack(remove_statements, r"statements: version 1 has no signed statements"),
    Attack(remove_one_statement, r"release: 1 statements that the release names are missing"),
    Attack(edit_provenance, r"statements: statement 1 \(stage validate\) was changed after key \w+ signed it"),
    Attack(edit_verdict, r"statements: statement 3 \(test-result\) was changed after key"),
    Attack(statements_of_another_version, r"release: no signed release is of version 1 .* releases of version 2"),
    Attack(garble_statements, r"statements: statement 1 is no signed envelope"),
    Attack(forge_statements, r"statements: statement 1 .* signed by key \w+, which is not trusted"),
    Attack(edit_run_tag, r"registry: MLflow's tag run_commit says ffffffffffff, the release"),
    Attack(rejected_but_tagged, r"gate.decision says promote, the signed verdict reject", "3"),
    Attack(approve_oneself, r"is the trainer's own: somebody else has to approve", "2"),
    Attack(trainer_as_approver, r"approval: the approval is signed by the trainer's own key", "2"),
    Attack(approve_as_nobody, r"is not of an approver that the policy names", "2"),
    Attack(replay_approval, r"approval: the approval by ann is of another release, \w+ \(version 1\)", "2"),
    Attack(approve_by_expired_key, r"approval: the key of old counted until 2020-01-01", "2"),
    Attack(backdate_approval, r"approval: the approval by old is not in the audit log", "2"),
    Attack(
        approve_and_be_revoked,
        r"approval: statement 5 \(urn:shoploom:approval:v1\) is signed by key \w+, which is not trusted",
    ),
    Attack(forge_policy, r"keys: .*policy.dsse.json is signed by root key \w+, not by"),
    Attack(edit_policy, r"keys: .*policy.dsse.json was changed after key"),
    Attack(older_policy, r"keys: .* is policy 2, and the audit log says that policy 3 is in force"),
    Attack(remove_policy, r"keys: there is no policy .* to hold to root"),
    Attack(swap_key, r"keys: .* has key \w+, which the audit log never heard of: somebody swapped the key"),
    Attack(slip_a_key_in, r"keys: .*ring.json"),
    Attack(lose_private_key, r"the private key .*pem is missing"),
    Attack(readable_private_key, r"can be read by other users of this machine"),
    Attack(lose_ring, r"keys: no signing key is known here"),
    Attack(edit_entry, r"audit log: entry 1 was edited"),
    Attack(rewrite_actor, r"audit log: .*entry 3 was rewritten: git's copy"),
    Attack(drop_entry, r"audit log: entry 4 is missing"),
    Attack(reorder_entries, r"audit log: the entries are in another order: 4 stands after 5"),
    Attack(truncate_log, r"audit log: entries \d+ to \d+ are cut off the log's end"),
    Attack(truncate_log_and_ref, r"audit log: entries \d+ to \d+ are cut off the log's end: MLflow"),
    Attack(lose_log, r"audit log: .*log.jsonl is lost; git's copy has \d+ entries"),
    Attack(forge_log, r"audit log: entry 1 was rewritten"),
    Attack(delete_run_ref, r"run: no ref under refs/shoploom/runs names run \w+ any more \(git update-ref"),
    Attack(move_run_ref, r"run: no ref under refs/shoploom/runs names run"),
    Attack(change_partition, r"data: data/raw/events/2017-W01.parquet was changed in the cache"),
    Attack(change_quarantine, r"data: data/validate/quarantine.json was changed in the cache"),
    Attack(change_report, r"data: data/validate/report.json was changed in the cache"),
    Attack(change_kept_report, r"report: .*report.json is not the report that the audit log recorded"),
    Attack(point_alias_at_unapproved, r"approval: awaiting approval by one of: ann", "2"),
    Attack(override_a_changed_byte, r"does not verify: package: catalogue/items.parquet"),
    Attack(override_by_trainer, r"version 2 does not verify: approval: awaiting approval", "2"),
    Attack(roll_back_to_changed, r"version 1 does not verify: package: catalogue/items.parquet"),
    Attack(change_offers_model, r"offers.json is not what key \w+ signed: its SHA-256 is \w+"),
    Attack(sign_offers_model_as_approver, r"offers.dsse.json is signed by key \w+, which is not trusted"),
]


def answer(shop: Governed, attack: Attack) -> str:
    """What the attacker, or whoever verifies afterwards, is told."""
    try:
        attack.do(shop)
    except ShoploomError as refused:
        return refused.message
    try:
        standing = verify_all(shop.settings, attack.version)
    except ShoploomError as refused:
        return refused.message
    return "\n".join(f"{check.name}: {check.message}" for check in standing.broken)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.do.__name__)
def test_an_attack_is_refused_or_detected_by_a_message_that_names_what_broke(shop: Governed, attack: Attack) -> None:
    import re

    with shop.put_back():
        said = answer(shop, attack)
    assert re.search(attack.says, said), said


def test_what_nobody_touched_verifies(shop: Governed) -> None:
    standing = verify_all(shop.settings, "1")
    assert standing.broken == ()
    assert standing.approved_by == "ann"
    assert {check.name for check in standing.checks} >= {
        "keys",
        "statements",
        "package",
        "gate",
        "approval",
        "audit log",
    }
    reigning = champion(shop.settings)
    assert reigning is not None
    assert reigning.version == "1"


def test_signatures_of_a_rotated_key_still_verify(shop: Governed) -> None:
    with shop.put_back():
        before = list(ring(shop.settings))
        rotated = rotate(shop.settings)
        assert list(ring(shop.settings)) == [*before, rotated.fingerprint]
        assert current_key(shop.settings).fingerprint == rotated.fingerprint
        assert standing_of(shop.settings, "1").broken == ()


def environment(shop: Governed) -> dict[str, str]:
    return {"SHOPLOOM_REPOSITORY": str(shop.settings.repository), "SHOPLOOM_HOME": str(shop.settings.home)}


def test_a_lost_private_key_stops_signing_alone_and_says_how_to_mend_it(shop: Governed) -> None:
    with shop.put_back():
        lost = current_key(shop.settings).path
        lost.unlink()
        for sign_again in (lambda: rotate(shop.settings), lambda: shop.release("milk")):
            with pytest.raises(ShoploomError, match=f"the private key {lost} is missing") as refused:
                sign_again()
            assert "from a copy" in refused.value.mend
        assert not standing_of(shop.settings, "1").broken
        assert not verify_all(shop.settings, "1").broken
        assert promote_version(shop.settings, "1").why == "version 1 already is champion"
        aside = lost.parent.rename(lost.parent.with_name("lost"))
        made = current_key(shop.settings)
        for name, public in {"before": aside / f"{lost.name}.pub", "now": Path(f"{made.path}.pub")}.items():
            change_policy(shop.settings, load_key(shop.key("root")), trust=person(name, public, "trainer"))
        assert not standing_of(shop.settings, "1").broken
        assert shop.release("milk") == "1"
        approve_version(shop.settings, "1", shop.key("ann"))
        assert not standing_of(shop.settings, "1").broken


def test_the_package_s_signature_verifies_by_openssf_s_own_verifier(shop: Governed) -> None:
    from model_signing import verifying

    key = current_key(shop.settings).path
    config = verifying.Config().use_elliptic_key_verifier(public_key=key.with_name(f"{key.name}.pub"))
    package = shop.package_file("1", "catalogue/items.parquet").parents[1]
    config.verify(package, shop.evidence("1", SIGNATURE))
    with shop.put_back():
        flip_model_byte(shop)
        with pytest.raises(ValueError, match=r"items\.parquet"):
            config.verify(package, shop.evidence("1", SIGNATURE))


def test_every_statement_is_one_of_in_toto_s(shop: Governed) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    said = [payload(line, shop) for line in envelopes({BUNDLE: shop.evidence("1", BUNDLE).read_bytes()})]
    for one in said:
        Statement.copy_from_pb(json_format.ParseDict(one, Message())).validate()
    kinds = [one["predicateType"] for one in said]
    assert kinds == [
        statements.PROVENANCE, statements.TEST_RESULT, statements.TEST_RESULT, statements.RELEASE, statements.APPROVAL,
    ]  # fmt: skip
    build = said[0]["predicate"]["buildDefinition"]
    assert build["externalParameters"]["stage"] == "validate"
    assert {"uri": "git:data", "digest": {"gitCommit": shop.run.data_commit}} in build["resolvedDependencies"]
    assert said[1]["predicate"]["result"] == "WARNED"
    assert said[1]["predicate"]["rows"] == {"events": {"accepted": 8, "quarantined": 1}}
    assert said[2]["predicate"]["verdict"]["decision"] == "promote"


def test_evidence_is_the_same_in_git_and_comes_from_there_when_mlflow_lost_it(shop: Governed) -> None:
    kept = shop.git.run("cat-file", "blob", f"{evidence_ref(shop.digest('1'))}:{BUNDLE}")
    assert kept == shop.evidence("1", BUNDLE).read_bytes()
    with shop.put_back():
        for name in (BUNDLE, SIGNATURE):
            shop.evidence("1", name).unlink()
        assert verify_all(shop.settings, "1").broken == ()


def test_another_approver_s_word_counts_when_the_first_was_revoked(shop: Governed) -> None:
    with shop.put_back():
        root = load_key(shop.key("root"))
        change_policy(shop.settings, root, revoke="ann")
        assert standing_of(shop.settings, "1").awaits_approval
        change_policy(shop.settings, root, trust=person("bob", shop.keys / "bob.pem.pub", "approver"))
        approve_version(shop.settings, "1", shop.key("bob"))
        standing = standing_of(shop.settings, "1")
        assert (standing.approved_by, standing.broken) == ("bob", ())


def test_a_version_of_an_older_shoploom_is_signed_by_a_person_and_the_log_says_so(shop: Governed) -> None:
    with shop.put_back():
        remove_statements(shop)
        broken = standing_of(shop.settings, "1")
        with pytest.raises(ShoploomError, match="has no signed statements") as refused:
            broken.require()
        assert "shoploom keys sign 1" in refused.value.mend
        said = CliRunner().invoke(main, ["keys", "sign", "1"], env=environment(shop))
        assert said.output.startswith("version 1 is signed: release ")
        assert standing_of(shop.settings, "1").awaits_approval
        assert read(shop.settings)[-1].action == "sign"
        again = CliRunner().invoke(main, ["keys", "sign", "1"], env=environment(shop))
        assert "version 1 is signed already" in again.output


def test_an_approver_s_override_lets_a_rejected_version_out_and_is_shown(shop: Governed) -> None:
    from pipelines.registry.summary import champion_entry

    with shop.put_back():
        version = shop.release("soap", decision="reject", champion="1")
        with pytest.raises(ShoploomError, match="the gate says reject: because"):
            promote_version(shop.settings, version)
        moved = promote_version(shop.settings, version, override="the shop needs soap", key=shop.key("ann"))
        assert (moved.champion, moved.previous) == (version, "1")
        standing = standing_of(shop.settings, version)
        assert (standing.override, standing.broken) == ("the shop needs soap", ())
        entry = champion_entry(shop.settings)
        assert entry is not None
        assert entry["override"] == "the shop needs soap"
        actions = [(line.action, line.subject) for line in read(shop.settings)[-3:]]
        assert actions[-2:] == [("override", f"version {version}"), ("promote", f"version {version}")]
        said = CliRunner().invoke(main, ["verify", version], env=environment(shop))
        assert "override   the shop needs soap" in said.output
        assert roll_back_version(shop.settings).champion == "1"


def test_commands_verify_approve_and_promote(shop: Governed) -> None:
    shell = CliRunner()
    sound = shell.invoke(main, ["verify", "1", "--root", shop.root], env=environment(shop))
    assert (sound.exit_code, sound.output.splitlines()[-1]) == (0, "version 1 verifies")
    wrong = shell.invoke(main, ["verify", "1", "--root", "f" * 64], env=environment(shop))
    assert wrong.exit_code == 1
    assert f"is signed by root key {shop.root[:16]}, not by ffffffffffffffff" in wrong.output
    nobody = shell.invoke(main, ["verify", "1"], env={**environment(shop), "SHOPLOOM_ROOT_FINGERPRINT": ""})
    assert "nobody said that it is the right one" in nobody.output
    with shop.put_back():
        early = shell.invoke(main, ["promote", "2"], env=environment(shop))
        assert early.exit_code == 1
        assert "awaiting approval by one of: ann, old\n  -> shoploom approve 2 --key FILE" in early.output
        signed = shell.invoke(main, ["approve", "2", "--key", str(shop.key("ann"))], env=environment(shop))
        assert signed.output == "version 2 is approved by ann\n  -> shoploom promote 2\n"
        moved = shell.invoke(main, ["promote", "2"], env=environment(shop))
        assert "version 2 is champion" in moved.output
        back = shell.invoke(main, ["rollback"], env=environment(shop))
        assert back.output == "champion is version 1 again; version 2 is the previous one\n"
        shown = shell.invoke(main, ["policy"], env=environment(shop))
        assert shown.output.startswith(f"policy 2 of root {shop.root}: approval required")
        assert "ann (approver)" in shown.output
        made = shell.invoke(main, ["keys", "new", str(shop.keys / "new.pem")], env=environment(shop))
        assert load_key(shop.keys / "new.pem").fingerprint in made.output
        again = shell.invoke(main, ["keys", "new", str(shop.keys / "new.pem")], env=environment(shop))
        assert "is there already; a key is never overwritten" in again.output
        missing = shell.invoke(main, ["approve", "2", "--key", str(shop.keys / "gone.pem")], env=environment(shop))
        assert "gone.pem is missing\n  -> " in missing.output
        turned = shell.invoke(main, ["keys", "rotate"], env=environment(shop))
        listed = shell.invoke(main, ["keys"], env=environment(shop)).output.split()
        assert listed[-1] in turned.output
        assert len(listed) == 2

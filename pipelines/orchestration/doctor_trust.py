"""What ``shoploom doctor`` says of trust: the keys that sign, the policy that names people, the audit log's head."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime

from pipelines.errors import RunError, ShoploomError
from pipelines.settings import Settings

Found = tuple[str, str, str, str]
"""Name, state (fine, note or broken), detail, mend."""


def signing_keys(settings: Settings) -> Iterator[Found]:
    """Whether this machine can sign, and which keys signed before."""
    from pipelines.lineage.keys import load_key, ring, ring_folder

    name, folder = "signing keys", ring_folder(settings)
    try:
        known = ring(settings)
        if not known:
            lost = _recorded_keys(settings)
            if lost:
                told = f"{folder} is lost: the audit log knows of {len(lost)}, {lost[-1][:12]} the newest"
                mend = "bring keys/signing back from a copy; what they signed is not verified without the ring"
                yield name, "broken", told, mend
            else:
                yield name, "note", f"{folder}: none yet, the first release makes one", ""
            return
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            yield name, "broken", f"{folder} can be entered by other users of this machine", f"chmod 700 {folder}"
        newest = list(known)[-1]
        load_key(folder / f"{newest}.pem")
        strange = [key for key in known if key not in _recorded_keys(settings)]
        if strange:
            told = f"{folder} has key {strange[0][:12]}, which the audit log never heard of"
            yield name, "broken", told, "bring the ring back from a copy; shoploom audit --action key"
            return
    except ShoploomError as error:
        yield name, "broken", error.message, error.mend
        return
    rotated = f"; {len(known) - 1} rotated, whose signatures still verify" if len(known) > 1 else ""
    yield name, "fine", f"{folder}: {newest[:12]} signs{rotated}; keep a copy", ""


def policy(settings: Settings) -> Iterator[Found]:
    """Whose word counts here."""
    from pipelines.lineage.policy import asked_root, read_policy

    try:
        found = read_policy(settings, asked_root(settings))
    except ShoploomError as error:
        yield "policy", "broken", error.message, error.mend
        return
    if found is None:
        yield "policy", "fine", "none: this machine's own keys count, and no approval is asked for by a policy", ""
        return
    today = datetime.now(UTC).date().isoformat()
    able = [one.name for one in found.holders("approver").values() if one.may_sign(today)]
    told = f"{found.number} of root {found.root[:16]}: approval {found.approval}"
    told += f", approvers {', '.join(able) or 'none whose key counts today'}"
    if found.approval == "required" and not able:
        yield "policy", "broken", told, "shoploom policy trust NAME FILE.pub --role approver --root-key FILE"
    else:
        yield "policy", "fine", told, ""


def audit_log(settings: Settings) -> Iterator[Found]:
    """Whether the log's newest entry is the one that git has a copy of."""
    from pipelines.lineage.anchors import audit_ref, head_of, log_name
    from pipelines.lineage.audit import RESTORE, log_path, parse, read_lines

    path, lines = log_path(settings), read_lines(settings)
    try:
        copy = head_of(settings)
    except RunError as error:
        if lines:
            yield "audit log", "broken", f"{path}: git cannot be asked for its copy: {error.message}", error.mend
        else:
            yield "audit log", "fine", "none yet", ""
        return
    last = parse(lines[-1]) if lines else None
    head = f"{log_name(settings)} {last.sequence} {last.hash}" if last else ""
    if not copy and not lines:
        yield "audit log", "fine", "none yet", ""
    elif not lines:
        told = f"{path} is lost; git's copy has {copy.split()[1]} entries"
        yield "audit log", "broken", told, "shoploom audit restore writes it again"
    elif not copy:
        told = f"{path} has {len(lines)} entries, and git's copy {audit_ref(settings)} is gone"
        yield "audit log", "broken", told, "git fetch the ref from a copy; the next entry makes it anew from the log"
    elif last is None or head != copy:
        ends = f"ends at entry {last.sequence}, {last.hash[:12]}" if last else "ends with what is no entry"
        told = f"{path} {ends}; git's copy at {copy.split()[1]}, {copy.split()[2][:12]}"
        yield "audit log", "broken", told, RESTORE
    else:
        told = f"{path}: {last.sequence} entries, head {last.hash[:12]}, as git has it"
        yield "audit log", "fine", told, ""


def _recorded_keys(settings: Settings) -> list[str]:
    """Fingerprints of the keys that the audit log was told of, oldest first."""
    from pipelines.lineage.anchors import entries

    try:
        return [entry.subject.removeprefix("key ") for entry in entries(settings) if entry.action == "key"]
    except RunError:
        return []

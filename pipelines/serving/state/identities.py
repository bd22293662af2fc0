"""Devices and accounts: a log of links, from which it is told whose profile a device belongs to.

Links of a device are a stack. ``link`` puts an account on top, ``unlink`` takes its topmost link out: so what was
before a link is again what is after its unlink, whatever was linked in between. A device without links is a profile of
its own. Events stay with the device or account that they came from, and follow the links when they are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, func, insert, select

from pipelines.errors import DataError
from pipelines.serving.state.core import Core
from pipelines.serving.state.errors import in_our_words
from pipelines.serving.state.records import check_identity
from pipelines.serving.state.schema import LINKS
from pipelines.serving.state.writer import one_by_one

_LOG = select(LINKS.c.device, LINKS.c.account, LINKS.c.action).order_by(LINKS.c.sequence)
_CHUNK = 500


class Identities:
    """The log of links.

    Args:
        core: what the state stands on.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def link(self, device: str, account: str) -> None:
        """Let a device belong to an account; nothing happens where it does already. Returns when it is durable.

        Args:
            device: as ``State.device`` names it.
            account: as ``State.account`` names it.
        """
        self._change(device, account, "link")

    def unlink(self, device: str, account: str) -> None:
        """Undo the last link of a device with an account. Returns when it is durable.

        Raises:
            DataError: they are not linked.
        """
        self._change(device, account, "unlink")

    def profile_of(self, identity: str) -> str:
        """The account that a device belongs to now; the identity itself where it is an account or has no link."""
        with in_our_words(self._core.database.place), self._core.database.snapshot() as connection:
            return accounts_of(connection, [identity])[identity]

    def _change(self, device: str, account: str, action: str) -> None:
        check_identity("device", device)
        check_identity("account", account)
        if device == account:
            raise DataError("a device cannot be linked with itself", mend="name a device and an account")
        self._core.writer.submit(_CHANGE, (device, account, action, self._core.now())).result()


def identities_of(connection: Connection, profile: str) -> list[str]:
    """A profile and the devices that belong to it now."""
    return list(members_of(connection, [profile]))


def members_of(connection: Connection, profiles: Collection[str]) -> dict[str, str]:
    """Identity -> profile: the profiles themselves, and the devices that belong to them now."""
    wanted, ever = {profile: profile for profile in profiles}, set[str]()
    named = list(wanted)
    for start in range(0, len(named), _CHUNK):
        linked = select(LINKS.c.device).where(LINKS.c.account.in_(named[start : start + _CHUNK])).distinct()
        ever.update(connection.execute(linked).scalars())
    owners = accounts_of(connection, sorted(ever))
    return wanted | {device: account for device, account in owners.items() if account in wanted}


def accounts_of(connection: Connection, devices: Iterable[str]) -> dict[str, str]:
    """Device -> the account on top of its links now, or itself."""
    wanted = list(devices)
    stacks: dict[str, list[str]] = defaultdict(list)
    for start in range(0, len(wanted), _CHUNK):
        log = _LOG.where(LINKS.c.device.in_(wanted[start : start + _CHUNK]))
        for device, account, action in connection.execute(log):
            follow(stacks[device], account, action)
    return {device: _top(stacks, device) for device in wanted}


def profiles_at(connection: Connection, identities: Collection[str], time: int) -> dict[str, str]:
    """Identity -> whose profile it belonged to just before a time (microseconds)."""
    stacks: dict[str, list[str]] = defaultdict(list)
    for device, account, action in connection.execute(_LOG.where(LINKS.c.changed < time)):
        follow(stacks[device], account, action)
    return {identity: _top(stacks, identity) for identity in identities}


def _top(stacks: Mapping[str, Sequence[str]], device: str) -> str:
    stack = stacks.get(device)
    return stack[-1] if stack else device


def follow(stack: list[str], account: str, action: str) -> None:
    """Change a device's stack of accounts by one entry of the log."""
    if action == "link":
        stack.append(account)
    else:
        del stack[len(stack) - 1 - stack[::-1].index(account)]


def _change(connection: Connection, change: tuple[str, str, str, int]) -> None:
    device, account, action, now = change
    log = select(LINKS.c.account, LINKS.c.action).where(LINKS.c.device == device).order_by(LINKS.c.sequence)
    stack: list[str] = []
    for before, what in connection.execute(log):
        follow(stack, before, what)
    if action == "link" and stack and stack[-1] == account:
        return
    if action == "unlink" and account not in stack:
        raise DataError("the device is not linked with this account", mend="name the account that it was linked with")
    last = connection.execute(select(func.max(LINKS.c.changed))).scalar()
    now = max(now, last or 0)
    connection.execute(insert(LINKS).values(device=device, account=account, action=action, changed=now))


_CHANGE = one_by_one(_change)

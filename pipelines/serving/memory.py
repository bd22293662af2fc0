"""What shoppers did, as the durable state has it, kept at hand: the next request after an event sees the event."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count

from pipelines.serving.kept import Kept
from pipelines.serving.state import Event, Held, Receipt, State

KEPT_PROFILES = 20_000
NEWEST = 500
"""Events of a profile that are looked at."""
STRIPES = 4096


@dataclass(frozen=True)
class Past:
    """What a shopper did.

    Args:
        profile: whose it is, as ``State`` names it.
        events: oldest first.
        edition: another number whenever something of it may have changed.
        held: offers held when it was read.
    """

    profile: str
    events: tuple[Event, ...]
    edition: int
    held: tuple[Held, ...] = ()


class Memory:
    """Reads the state, and keeps what it read until this server writes to it.

    Args:
        state: durable.
        alone: whether no other server writes to it; without that nothing is kept.
    """

    def __init__(self, state: State, alone: bool) -> None:
        self.state = state
        self._alone = alone
        self.sold_out = state.stock.out()
        """Ids of items that cannot be bought."""
        self._profiles: Kept[str, str] = Kept(KEPT_PROFILES)
        self._pasts: Kept[str, Past] = Kept(KEPT_PROFILES)
        self._editions = count(1)
        self._relinked = 0
        self._changed = [0] * STRIPES
        """When something of a profile of each stripe was written last: what was read before is not kept after."""

    def identity(self, user: str | None, device: str | None, session: str | None) -> str | None:
        """Who acts, as the state names them: the account, else the device, else the visit.

        Raises:
            DataError: an id is none.
        """
        if user is not None:
            return self.state.account(user)
        if device is not None:
            return self.state.device(device)
        return None if session is None else self.state.device(f"session {session}")

    def at_hand(self, identity: str) -> Past | None:
        """The past of somebody where it can be told at once: it is kept, or one look into the file shows that there
        is none. In a database elsewhere nothing is looked up.

        Raises:
            StateError: the database cannot be read.
        """
        profile = self._profiles.get(identity)
        if profile is not None or not self._alone:
            return None if profile is None else self._pasts.get(profile)
        edition = next(self._editions)
        if self.state.knows(identity):
            return None
        if self._relinked < edition:
            self._profiles.put(identity, identity)
        return self._keep(Past(identity, (), edition))

    def past(self, identity: str) -> Past:
        """What somebody did, with everything that is linked with them.

        Raises:
            StateError: the database cannot be read.
        """
        profile = self._profile(identity)
        kept = self._pasts.get(profile)
        if kept is not None:
            return kept
        edition = next(self._editions)
        events, held = self.state.events.of(profile, NEWEST), self.state.offers.held_by(profile)
        return self._keep(Past(profile, tuple(events), edition, tuple(held)))

    def _keep(self, found: Past) -> Past:
        """Keep what was read, unless something of it was written since."""
        if self._alone and max(self._changed[_stripe(found.profile)], self._relinked) < found.edition:
            self._pasts.put(found.profile, found)
        return found

    def append(self, events: Sequence[Event]) -> list[Receipt]:
        """Make events durable, and forget what was read of whom they concern.

        Raises:
            ConflictError: an id is stored with other content.
            DataError: an event lies in the future or far back.
            StateError: the database cannot take them.
        """
        receipts = self.state.events.append(events)
        for identity in {event.identity for event in events}:
            self.forget(identity)
        return receipts

    def forget(self, identity: str) -> None:
        """Read somebody's past anew when it is next asked for, because something of it was written."""
        profile = self._profile(identity)
        self._changed[_stripe(profile)] = next(self._editions)
        self._pasts.drop(profile)

    def change_stock(self, out: Collection[str], back: Collection[str]) -> None:
        """Note what is sold out and what is back.

        Raises:
            DataError: an id is none, or is in both.
            StateError: the database cannot take it.
        """
        self.state.stock.put(out, back)
        self.sold_out = self.state.stock.out()

    def look(self) -> None:
        """See that the state answers, and what other servers wrote to it of everybody.

        Raises:
            StateError: it does not.
        """
        self.state.check()
        if not self._alone:
            self.sold_out = self.state.stock.out()

    def link(self, device: str, account: str, linked: bool) -> None:
        """Link a device with an account, or undo that; everything is then read anew.

        Raises:
            DataError: they are not linked.
            StateError: the database cannot take it.
        """
        change = self.state.identities.link if linked else self.state.identities.unlink
        change(device, account)
        self._relinked = next(self._editions)
        self._profiles.clear()
        self._pasts.clear()

    def _profile(self, identity: str) -> str:
        kept = self._profiles.get(identity)
        if kept is None:
            edition = next(self._editions)
            kept = self.state.identities.profile_of(identity)
            if self._alone and self._relinked < edition:
                self._profiles.put(identity, kept)
        return kept


def _stripe(name: str) -> int:
    return hash(name) % STRIPES

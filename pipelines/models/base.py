"""What every recommender model shares: the histories it reads and the contract it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError

USERS_AT_ONCE = 256
"""Users scored at once: bounds memory, changes no result."""
MADE_AGAIN = "SHOPLOOM_NO_CACHE=1 shoploom run"
"""Mends a stage's output that is not what the stage wrote."""


@dataclass(frozen=True)
class ByUser:
    """Events of many users in compressed sparse row form, oldest first within a user.

    Args:
        indptr: int64 [num_users + 1]; user ``u`` owns events ``indptr[u]:indptr[u + 1]``.
    """

    indptr: NDArray[np.int64]

    @property
    def num_users(self) -> int:
        return len(self.indptr) - 1

    def users_of_events(self) -> NDArray[np.int32]:
        """int32 [num_events]: the dense user id of every event."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), np.diff(self.indptr))


@dataclass(frozen=True)
class Histories(ByUser):
    """Purchases of many users by dense item id.

    Args:
        indptr: int64 [num_users + 1], see :class:`ByUser`.
        items: int32 [num_events], dense item ids.
        ages: float32 [num_events], days between the event and the moment the histories are read at; >= 0.
        quantities: float32 [num_events], > 0.
        num_items: size of the item space.
    """

    items: NDArray[np.int32]
    ages: NDArray[np.float32]
    quantities: NDArray[np.float32]
    num_items: int

    @classmethod
    def from_events(
        cls,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        days: NDArray[np.float64],
        quantities: NDArray[np.float32],
        *,
        num_users: int,
        num_items: int,
        as_of: float,
    ) -> Self:
        """Group events by user.

        Args:
            users: int32 [num_events], dense user ids.
            items: int32 [num_events], dense item ids.
            days: float64 [num_events], days since the epoch, UTC.
            quantities: float32 [num_events].
            num_users: size of the user space; users without events get an empty history.
            num_items: size of the item space.
            as_of: days since the epoch at which the histories are read; no event may be later.

        Raises:
            DataError: an event lies after ``as_of``, or an id is outside its space.
        """
        if len(days) and float(days.max()) > as_of:
            raise DataError(
                f"an event of user {int(users[days.argmax()])} lies {float(days.max()) - as_of:.3f} days after the "
                "moment that the histories are read at",
                mend=MADE_AGAIN,
            )
        for name, ids, size in (("user", users, num_users), ("item", items, num_items)):
            if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= size):
                raise DataError(
                    f"{name} ids must lie in 0..{size - 1}; found {int(ids.min())}..{int(ids.max())}", mend=MADE_AGAIN
                )
        order = np.lexsort((items, days, users))
        indptr = np.zeros(num_users + 1, np.int64)
        np.cumsum(np.bincount(users, minlength=num_users), out=indptr[1:])
        return cls(
            indptr=indptr,
            items=items[order].astype(np.int32),
            ages=(as_of - days[order]).astype(np.float32),
            quantities=quantities[order].astype(np.float32),
            num_items=num_items,
        )

    def take(self, start: int, stop: int) -> Histories:
        """The histories of users ``start`` to ``stop - 1``."""
        low, high = int(self.indptr[start]), int(self.indptr[stop])
        return Histories(
            indptr=self.indptr[start : stop + 1] - low,
            items=self.items[low:high],
            ages=self.ages[low:high],
            quantities=self.quantities[low:high],
            num_items=self.num_items,
        )

    def pick(self, users: NDArray[np.int32]) -> Histories:
        """The histories of some users (int32 [num_picked]), in their order."""
        starts, lengths = self.indptr[users], np.diff(self.indptr)[users]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Histories(
            indptr=indptr,
            items=self.items[rows],
            ages=self.ages[rows],
            quantities=self.quantities[rows],
            num_items=self.num_items,
        )

    def chunks(self) -> Iterator[tuple[int, Histories]]:
        """The first user and the histories of ``USERS_AT_ONCE`` users after another."""
        for start in range(0, self.num_users, USERS_AT_ONCE):
            yield start, self.take(start, min(start + USERS_AT_ONCE, self.num_users))


class Model(ABC):
    """A scorer of items for users. A user is nothing but a history: whoever has one can be served.

    Files of a model hold no code and no times, so equal models have equal bytes.
    """

    name: ClassVar[str]
    """Its row in the report, a noun in snake case."""

    @abstractmethod
    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """Score candidates for every user.

        Args:
            histories: whom to score for.
            candidates: int32 [num_candidates], dense item ids.

        Returns:
            float32 [num_users, num_candidates]; higher is better, never NaN. A user without events gets the
            model's documented fallback.
        """

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the model into ``directory``, which exists and is empty."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: a file is missing, unreadable or of another format version.
        """

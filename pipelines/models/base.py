"""What every recommender model shares: the histories it reads and the contract it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError, ModelError
from pipelines.params import Section

if TYPE_CHECKING:
    from pipelines.models.attributes import Attributes

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
            DataError: an event lies after ``as_of``, a time or a quantity is not finite, or an id is outside its space.
        """
        for name, numbers in (("time", days), ("quantity", quantities)):
            finite = np.isfinite(numbers)
            if not finite.all():
                row = int(np.argmin(finite))
                raise DataError(
                    f"event {row}, of user {int(users[row])}, has the {name} {numbers[row]}", mend=MADE_AGAIN
                )
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

    @classmethod
    def nobody(cls, num_items: int) -> Self:
        """One user of whom no purchase is known."""
        ages, quantities = np.zeros(0, np.float32), np.zeros(0, np.float32)
        return cls(np.zeros(2, np.int64), np.zeros(0, np.int32), ages, quantities, num_items)

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


@dataclass(frozen=True)
class Texts:
    """The catalogue's text vectors.

    Args:
        embeddings: float32 [num_texts, embedding_size], L2-normalised.
        text_index: int32 [num_items], each item's row in ``embeddings``.
    """

    embeddings: NDArray[np.float32]
    text_index: NDArray[np.int32]

    def check(self, num_items: int) -> None:
        """Refuse vectors that are not finite or not of these items.

        Raises:
            ModelError: the message names the text or the item.
        """
        finite = np.isfinite(self.embeddings).all(axis=1)
        if not finite.all():
            raise ModelError(f"text {int(np.argmin(finite))} has a vector that is not finite", mend=MADE_AGAIN)
        if len(self.text_index) != num_items:
            raise ModelError(f"{len(self.text_index)} items have a text, and there are {num_items}", mend=MADE_AGAIN)
        outside = (self.text_index < 0) | (self.text_index >= len(self.embeddings))
        if outside.any():
            item = int(np.argmax(outside))
            raise ModelError(
                f"item {item} has text {int(self.text_index[item])}; texts are 0..{len(self.embeddings) - 1}",
                mend=MADE_AGAIN,
            )


@dataclass(frozen=True)
class Previous:
    """A model as an earlier run left it.

    Args:
        folder: that its ``load`` reads.
        items: int32 [num_items of that run], the dense id here of each of its items; -1 for one that is gone.
    """

    folder: Path
    items: NDArray[np.int32]


@dataclass(frozen=True)
class Training:
    """What a model may learn from. Everything in it lies before one moment.

    Args:
        histories: every user's purchases up to that moment.
        texts: text vectors of every item; None where the model does not ask for them (``Model.reads_texts``).
        attributes: the groups that items belong to; None where the model does not ask (``Model.reads_attributes``).
        fitted: the models that it builds on (``Model.needs``), by name, fitted on the same purchases.
        seed: from which every random draw of the fit starts.
        threads: that the fit may use; fixed and not the machine's, so that equal input gives equal bytes.
        side: a folder for checkpoints and curves, which survives a kill and is no output; None keeps neither.
        previous: the same model as an earlier run left it, for a warm start; None without one.

    Raises:
        ModelError: an age, a quantity or a text vector is not finite, or the texts are of other items.
    """

    histories: Histories
    texts: Texts | None = None
    fitted: Mapping[str, Model] = field(default_factory=dict)
    seed: int = 7
    threads: int = 2
    side: Path | None = None
    previous: Previous | None = None
    attributes: Attributes | None = None

    def __post_init__(self) -> None:
        for name, array in (("age", self.histories.ages), ("quantity", self.histories.quantities)):
            finite = np.isfinite(array)
            if not finite.all():
                event = int(np.argmin(finite))
                raise ModelError(f"event {event} of the histories has the {name} {array[event]}", mend=MADE_AGAIN)
        if self.texts is not None:
            self.texts.check(self.histories.num_items)
        if self.attributes is not None:
            self.attributes.check(self.histories.num_items)


@dataclass(frozen=True)
class Serves:
    """Whom and what a model tells apart.

    Where it does not, it falls back: one order for every such user, one score for every such item, and never NaN.

    Args:
        known_users: users with a history get an order of their own.
        cold_users: users without events get an order at all (of popularity, for instance).
        known_items: items that were bought in training.
        cold_items: items that nobody bought yet are scored for each user by what is known of them.
    """

    known_users: bool = True
    cold_users: bool = False
    known_items: bool = True
    cold_items: bool = False


@dataclass(frozen=True)
class Span:
    """Where `shoploom tune` looks for a number.

    Args:
        low: the least.
        high: the most.
        log: look by orders of magnitude.
    """

    low: float
    high: float
    log: bool = False


class NoSettings(Section):
    """Of a model that has none."""


class Scoring(ABC):
    """A scorer of items for users. A user is nothing but a history: whoever has one can be served.

    Files of a model hold no code and no times, so equal models have equal bytes.
    """

    name: ClassVar[str]
    """Its row in the report, a noun in snake case."""
    serves: ClassVar[Serves]
    """Whom and what it can serve."""

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

    def recommend(self, histories: Histories, k: int, candidates: NDArray[np.int32] | None = None) -> NDArray[np.int32]:
        """The best items of every user.

        Args:
            histories: whom to recommend to.
            k: places to fill; k >= 1.
            candidates: int32 [num_candidates], ascending dense item ids; every item by default.

        Returns:
            int32 [num_users, k], dense item ids, best first, ties by id; -1 where fewer than k may be recommended.
        """
        from pipelines.metrics.ranking import top_k

        offered = np.arange(histories.num_items, dtype=np.int32) if candidates is None else candidates
        best = np.full((histories.num_users, k), -1, np.int32)
        for start, chunk in histories.chunks():
            places = top_k(self.score(chunk, offered), k)
            if len(offered):
                best[start : start + chunk.num_users] = np.where(places < 0, -1, offered[places])
        return best

    def fold_in(self, histories: Histories) -> Any:
        """What the model makes of users whom it may never have seen: their vectors, or, without such, their histories.

        Returns:
            float32 [num_users, size], or ``histories`` as they are.
        """
        return histories

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


class Model(Scoring):
    """A scorer that learns from purchases.

    A model that can be chosen in ``params.yaml`` lies in the module of its name in ``pipelines/models`` and states the
    ``stage`` that fits it; nothing else lists it.
    """

    stage: ClassVar[str | None] = None
    """The stage that fits it, whose section of ``params.yaml`` holds its settings and under whose name in ``data/`` it
    lies as ``validation`` and ``final``; None for a baseline, which is always there."""
    dense: ClassVar[bool] = True
    """Whether it can rank every candidate for every user, and so puts its best on the ranker's shortlist."""
    comparable: ClassVar[bool] = False
    """Whether its scores mean the same for every user; the ranker sees others as a share of the user's best too."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Models that it builds on."""
    reads_texts: ClassVar[bool] = False
    """Whether it learns from the catalogue's text vectors."""
    reads_attributes: ClassVar[bool] = False
    """Whether it learns from the items' categories, brands and attributes."""
    quick: ClassVar[bool] = True
    """Whether it is fitted in seconds; the ranker fits it again for earlier windows, to learn from them too."""
    starts_warm: ClassVar[bool] = False
    """Whether it can start from what an earlier run left; its stage then depends on ``data/previous``."""
    because: ClassVar[str] = "what goes with your purchases"
    """What its score is about, in a shopper's words."""
    Settings: ClassVar[type[Section]] = NoSettings
    """What can be set, with defaults and ranges."""

    spans: ClassVar[Mapping[str, Span]] = {}
    """Of the settings, those that are tuned, and where."""

    @classmethod
    @abstractmethod
    def fit(cls, training: Training, settings: Any) -> Self:
        """Learn from purchases.

        Args:
            training: see :class:`Training`.
            settings: of the class ``Settings``.

        Raises:
            ModelError: there is nothing to learn from, or the fit came to no finite end.
        """

    def facts(self) -> dict[str, float]:
        """Numbers of the fitted model that are worth keeping in its stage's ``metrics.json``."""
        return {}

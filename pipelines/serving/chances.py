"""How likely offers are redeemed: by the model that ``shoploom offers fit`` wrote, else by what came of offers here.

Without a model every offer has the same chance, the share of this server's own reservations that were redeemed among
those that ended. Before many have ended that share is drawn towards ``AT_FIRST``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.propensity import Known, Propensity
from pipelines.serving.state import State

AT_FIRST, AT_FIRST_WEIGHS = 0.05, 20
"""The chance where nothing has ended yet, and as how many ended reservations it counts."""
Source = Literal["model", "redemptions"]
SECONDS_KEPT = 30.0
"""How long the share of redemptions is not counted anew."""


def model_path(home: Path) -> Path:
    """Where the model lies in a state folder."""
    return home / "serving" / "offers.json"


class Redeeming(Protocol):
    """Tells chances of redemption."""

    def score(self, known: Known) -> NDArray[np.float64]:
        """float64 [num_pairs]: the chance within 0..1 that an offer is redeemed."""


@dataclass(frozen=True)
class Share:
    """The same chance for every offer.

    Args:
        chance: within 0..1.
    """

    chance: float

    @classmethod
    def of(cls, redeemed: int, ended: int) -> Share:
        """From reservations that ended, and those of them that were redeemed."""
        return cls((redeemed + AT_FIRST * AT_FIRST_WEIGHS) / (ended + AT_FIRST_WEIGHS))

    def score(self, known: Known) -> NDArray[np.float64]:
        """float64 [num_pairs]."""
        return np.full(len(known.lines), self.chance)


class Chances:
    """The model in a file, read again whenever the file changes.

    Args:
        path: where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int], Propensity | ModelError] | None = None
        self._share: tuple[float, Share] | None = None

    def now(self, state: State) -> tuple[Redeeming, Source, ModelError | None]:
        """What tells chances now, which of the two it is, and what is wrong with the file.

        Raises:
            StateError: the state cannot be read.
        """
        found = self._model()
        if isinstance(found, Propensity):
            return found, "model", None
        return self._redemptions(state), "redemptions", found

    def _model(self) -> Propensity | ModelError | None:
        try:
            status = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._read = None
            return None
        stamp = status.st_mtime_ns, status.st_ino
        if self._read is None or self._read[0] != stamp:
            try:
                self._read = stamp, Propensity.load(self._path)
            except ModelError as error:
                self._read = stamp, error
        return self._read[1]

    def _redemptions(self, state: State) -> Share:
        now = time.monotonic()
        if self._share is None or self._share[0] < now:
            self._share = now + SECONDS_KEPT, Share.of(*state.offers.outcomes())
        return self._share[1]

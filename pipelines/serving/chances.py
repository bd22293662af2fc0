"""How likely offers are redeemed: by the model that ``shoploom offers fit`` wrote, else by what came of offers here.

The model is used once its signature verifies; where a later one does not, the one before stays.

Without a model every offer has the same chance, the share of this server's own reservations that were redeemed among
those that ended. Before many have ended that share is drawn towards ``AT_FIRST``.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ServiceError, ShoploomError
from pipelines.lineage.audit import record_once
from pipelines.lineage.signed_file import envelope_path, open_signed_file
from pipelines.models.propensity import Known, Propensity
from pipelines.serving.state import State
from pipelines.settings import Settings

AT_FIRST, AT_FIRST_WEIGHS = 0.05, 20
"""The chance where nothing has ended yet, and as how many ended reservations it counts."""
Source = Literal["model", "redemptions"]
SECONDS_KEPT = 30.0
"""How long the share of redemptions is not counted anew, and a model that was refused is not tried again."""
_MEND = "shoploom offers fit"
_Stamp = tuple[int, int] | None


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
    """The model in a file, verified and read again whenever the file or its signature changes.

    Args:
        settings: the state folder, and whose signatures count.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = model_path(settings.home)
        self._looking = Lock()
        self._seen: tuple[_Stamp, _Stamp] | None = None
        self._model: Propensity | None = None
        self._refused: tuple[float, ShoploomError] | None = None
        self._share: tuple[float, Share] | None = None

    def now(self, state: State) -> tuple[Redeeming, Source, ShoploomError | None]:
        """What tells chances now, which of the two it is, and what is wrong with the file.

        Raises:
            StateError: the state cannot be read.
        """
        with self._looking:
            self._look()
            model, wrong = self._model, self._refused[1] if self._refused else None
        if model is not None:
            return model, "model", wrong
        return self._redemptions(state), "redemptions", wrong

    def _look(self) -> None:
        stamp = _stamp(self._path), _stamp(envelope_path(self._path))
        if stamp[0] is None:
            self._seen = self._model = self._refused = None
            return
        if stamp == self._seen and (self._refused is None or time.monotonic() < self._refused[0]):
            return
        self._seen = stamp
        try:
            self._model, self._refused = self._verified(), None
        except (ShoploomError, OSError) as error:
            self._refused = time.monotonic() + SECONDS_KEPT, _told(error)

    def _verified(self) -> Propensity:
        """The model, once it verifies; as of a champion, that or the refusal goes to the audit log."""
        subject = f"file {self._path.name}"
        try:
            content = open_signed_file(self._settings, self._path, _MEND)
            model = Propensity.parse(content, self._path.name)
        except ShoploomError as error:
            record_once(self._settings, "refusal", subject, why=error.message, by="server")
            raise
        record_once(self._settings, "load", subject, sha256=hashlib.sha256(content).hexdigest(), by="server")
        return model

    def _redemptions(self, state: State) -> Share:
        now = time.monotonic()
        if self._share is None or self._share[0] < now:
            self._share = now + SECONDS_KEPT, Share.of(*state.offers.outcomes())
        return self._share[1]


def _told(error: ShoploomError | OSError) -> ShoploomError:
    if isinstance(error, ShoploomError):
        return error
    return ServiceError(f"offers.json is not taken up: {error}", mend="the audit log has to name it: look at its disk")


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ctime_ns, status.st_ino

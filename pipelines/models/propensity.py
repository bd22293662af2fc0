"""How likely a user is to redeem an offer: a logistic regression on what they bought of it before.

Fitted on offers that were really sent. Six features, all as of the moment when the offer is given, and all rates, so
that a longer history does not by itself make a redemption likelier. What lies outside the range that was fitted on
counts as its edge: the model has not seen what comes beyond.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import write_json
from pipelines.errors import ModelError

FEATURES = ("lines_a_quarter", "bought_before", "recency", "lines_a_week", "redeemed_share", "items")
"""Lines of the offer's items in 90 days, whether any ever, how fresh the last one is, lines of anything in a week,
share of the offers given before that were redeemed, how many items the offer is for."""

FRESH_DAYS = 30.0
FORMAT = 1
_QUARTER_DAYS, _WEEK_DAYS = 90.0, 7.0


@dataclass(frozen=True)
class Known:
    """What is known of a user when an offer is given; a row for each pair.

    Args:
        lines: float64 [num_pairs], purchase lines of the offer's items so far.
        last_days: float64 [num_pairs], days since the last of them; infinity where there is none.
        all_lines: float64 [num_pairs], purchase lines of anything so far.
        history_days: float64 [num_pairs], days over which purchases are known; > 0.
        given: float64 [num_pairs], offers given before.
        redeemed: float64 [num_pairs], those of them that were redeemed.
        items: float64 [num_pairs], items that the offer is for; >= 1.
    """

    lines: NDArray[np.float64]
    last_days: NDArray[np.float64]
    all_lines: NDArray[np.float64]
    history_days: NDArray[np.float64]
    given: NDArray[np.float64]
    redeemed: NDArray[np.float64]
    items: NDArray[np.float64]

    def pick(self, rows: NDArray[np.intp]) -> Known:
        """Some of the pairs (int [num_picked])."""
        return Known(**{name: values[rows] for name, values in vars(self).items()})

    def features(self) -> NDArray[np.float64]:
        """float64 [num_pairs, 6], in the order of ``FEATURES``."""
        days = np.maximum(self.history_days, 1.0)
        columns = (
            np.log1p(self.lines * _QUARTER_DAYS / days),
            (self.lines > 0).astype(np.float64),
            np.exp(-self.last_days / FRESH_DAYS),
            np.log1p(self.all_lines * _WEEK_DAYS / days),
            np.log1p(self.redeemed / (self.given + 1.0)),
            np.log(np.maximum(self.items, 1.0)),
        )
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Propensity:
    """A fitted model.

    Args:
        weights: one for each of ``FEATURES``.
        intercept: log odds where all features are 0.
        lowest: of each feature in the fit.
        highest: the same.
        pairs: that it was fitted on.
        redemptions: of these.
    """

    weights: tuple[float, ...]
    intercept: float
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    pairs: int
    redemptions: int

    @classmethod
    def fit(cls, known: Known, redeemed: NDArray[np.bool_]) -> Self:
        """Fit on offers that were given.

        Args:
            known: of each pair, as of when it was given.
            redeemed: bool [num_pairs], what came of it.

        Raises:
            ModelError: none or all were redeemed, or a feature is not finite.
        """
        from sklearn.linear_model import LogisticRegression

        features = known.features()
        if not np.isfinite(features).all():
            raise ModelError("a feature of an offer is not finite", mend="look at the history's times and counts")
        if not 0 < redeemed.sum() < len(redeemed):
            raise ModelError(
                f"{int(redeemed.sum())} of {len(redeemed)} offers were redeemed: nothing can be learned",
                mend="give a history with offers that were redeemed and others that were not",
            )
        mean, spread = features.mean(0), np.maximum(features.std(0), 1e-9)
        fitted = LogisticRegression(max_iter=500).fit((features - mean) / spread, redeemed)
        weights = fitted.coef_[0] / spread
        intercept = float(fitted.intercept_[0] - weights @ mean)
        lowest, highest = (tuple(map(float, edge)) for edge in (features.min(0), features.max(0)))
        return cls(tuple(map(float, weights)), intercept, lowest, highest, len(redeemed), int(redeemed.sum()))

    def score(self, known: Known) -> NDArray[np.float64]:
        """float64 [num_pairs]: the chance within 0..1 that an offer is redeemed."""
        features = np.clip(known.features(), self.lowest, self.highest)
        odds = features @ np.asarray(self.weights) + self.intercept
        chances: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-odds))
        return chances

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json({"format": FORMAT, "features": list(FEATURES), **asdict(self)}, path)

    @classmethod
    def parse(cls, content: bytes, name: str) -> Self:
        """Read what :meth:`save` wrote.

        Args:
            content: of the file.
            name: how messages name it.

        Raises:
            ModelError: this is no such model.
        """
        try:
            stored = json.loads(content)
            if stored["format"] != FORMAT or tuple(stored["features"]) != FEATURES:
                raise ValueError("it has another format")
            vectors = [tuple(map(float, stored[name])) for name in ("weights", "lowest", "highest")]
            weights, lowest, highest = vectors
            intercept = float(stored["intercept"])
            if any(len(vector) != len(FEATURES) or not np.isfinite(vector).all() for vector in vectors):
                raise ValueError("its weights are none")
            made = cls(weights, intercept, lowest, highest, int(stored["pairs"]), int(stored["redemptions"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{name} is no model of redemptions: {error}", mend="shoploom offers fit") from None
        return made

"""Trees and a network together: what a shopper bought before is judged by both, what is new to them by the trees alone.

Of what comes again, purchases are many and what decides changes smoothly: two models of different kinds err
differently, and their mean errs less. Of what is new, the network knows little.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN
from pipelines.models.blend_settings import BlendSettings, log_odds, logistic, write_blend
from pipelines.models.neural_blend import NeuralBlend
from pipelines.models.tree_blend import TreeBlend

TREES_FOLDER, NETWORK_FOLDER = "trees", "network"
OWN = "own_counts"
"""The feature that is above 0 for what the shopper bought before."""


class MixedBlend:
    """The mean of both parts' log odds where a pair was bought before; the trees' elsewhere.

    Args:
        trees: one part.
        network: the other, of the same features.
    """

    kind = "mixed"

    def __init__(self, trees: TreeBlend, network: NeuralBlend) -> None:
        self.trees = trees
        self.network = network
        self.feature_names = trees.feature_names
        self._own = self.feature_names.index(OWN)

    @classmethod
    def of(cls, trees: object, network: object) -> Self:
        """Join two blends that were read.

        Raises:
            ModelError: they are of other kinds.
        """
        if not isinstance(trees, TreeBlend) or not isinstance(network, NeuralBlend):
            raise ModelError("a mixed blend is of trees and a network, and other parts were found", mend=MADE_AGAIN)
        return cls(trees, network)

    @classmethod
    def fit(
        cls,
        rows: NDArray[np.float32],
        bought: NDArray[np.bool_],
        feature_names: Sequence[str],
        settings: BlendSettings,
    ) -> Self:
        """Train both parts on shortlisted pairs."""
        given = rows, bought, feature_names, settings
        return cls(TreeBlend.fit(*given), NeuralBlend.fit(*given))

    @property
    def threads(self) -> int:
        """Used to predict; their number changes no result."""
        return self.trees.threads

    @threads.setter
    def threads(self, count: int) -> None:
        self.trees.threads = count

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [num_rows] in 0..1, from float32 [num_rows, num_features]."""
        chances, own = self.trees.predict(rows), rows[:, self._own] > 0
        both = (log_odds(chances[own]) + log_odds(self.network.predict(rows[own]))) / 2
        chances[own] = logistic(both)
        return chances

    def contributions(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """See :meth:`pipelines.models.tree_blend.TreeBlend.contributions`; the mean of both parts' where both judge."""
        added, own = self.trees.contributions(rows), rows[:, self._own] > 0
        added[own] = (added[own] + self.network.contributions(rows[own])) / 2
        return added

    def importance(self) -> dict[str, float]:
        """Share of the trees' total gain of every feature."""
        return self.trees.importance()

    def save(self, directory: Path) -> None:
        """Write both parts into folders of ``directory``."""
        for part, folder in ((self.trees, TREES_FOLDER), (self.network, NETWORK_FOLDER)):
            (directory / folder).mkdir()
            part.save(directory / folder)
        write_blend(directory, self.kind, self.feature_names, {})

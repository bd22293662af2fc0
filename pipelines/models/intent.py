"""What a person wants of the shop's search: a softmax head on query vectors of the multilingual encoder's first layers.

The last class is what is out of scope, so its probability is how likely a query is none of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import write_arrays, write_json
from pipelines.errors import ModelError
from pipelines.models.encoder import normalised
from pipelines.models.intent_templates import INTENTS, OUT_OF_SCOPE
from pipelines.models.multilingual import MultilingualEncoder, loaded
from pipelines.models.parts import PACKAGED_AGAIN, read_part

FORMAT_VERSION = 2
ON_ALL_LAYERS = 1
"""The version of heads that do not say on how many layers they stand, and stand on all."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Intent:
    """What one query is taken for.

    Args:
        name: the most likely of ``INTENTS``.
        probability: of it.
        out_of_scope: the probability that a shop's search cannot answer it.
    """

    name: str
    probability: float
    out_of_scope: float


@dataclass(frozen=True)
class IntentHead:
    """``softmax(weights @ direction + bias)``, the direction being that of the query's vector beside ``centre``.

    Args:
        weights: float32 [num_intents, embedding_size].
        bias: float32 [num_intents].
        centre: float32 [embedding_size], the mean of the training phrasings' vectors.
        distribution: that ships the encoder.
        sha256: of its weights.
        layers: of it, the first ones, that gave the vectors; all where it is None.
    """

    weights: Floats
    bias: Floats
    centre: Floats
    distribution: str
    sha256: str
    layers: int | None

    def probabilities(self, vectors: Floats) -> Floats:
        """Of each of ``INTENTS``.

        Args:
            vectors: float32 [num_queries, embedding_size] of :attr:`encoder`'s ``encode_queries``.

        Returns:
            float32 [num_queries, num_intents]; rows sum to 1.
        """
        logits = normalised(vectors - self.centre) @ self.weights.T + self.bias
        exponents = np.exp(logits - logits.max(1, keepdims=True))
        shares: Floats = (exponents / exponents.sum(1, keepdims=True)).astype(np.float32)
        return shares

    @property
    def encoder(self) -> MultilingualEncoder:
        """The encoder that the head was fitted on.

        Raises:
            ModelError: it is not installed, has other weights or fewer layers.
        """
        return loaded(self.distribution, self.sha256, self.layers)

    def of(self, query: str) -> Intent:
        """Judge one query.

        Raises:
            ModelError: the query is blank.
        """
        if not query.strip():
            raise ModelError("the query is blank", mend='shoploom search "greek yogurt"')
        row = self.probabilities(self.encoder.encode_queries([" ".join(query.lower().split())]))[0]
        best = int(row.argmax())
        return Intent(INTENTS[best], float(row[best]), float(row[INTENTS.index(OUT_OF_SCOPE)]))

    def save(self, directory: Path) -> None:
        """Write the head into ``directory``."""
        arrays = {"weights": self.weights, "bias": self.bias, "centre": self.centre}
        write_arrays(arrays, directory / "intent.safetensors")
        write_json(
            {
                "format": "shoploom-intent",
                "format_version": FORMAT_VERSION,
                "intents": list(INTENTS),
                "distribution": self.distribution,
                "weights_sha256": self.sha256,
                "layers": self.layers,
            },
            directory / "intent.json",
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: a file is missing, unreadable, of another format version or of other intents.
        """
        manifest, arrays = read_part(
            directory / "intent.json",
            directory / "intent.safetensors",
            ("shoploom-intent", FORMAT_VERSION),
            "intent head",
            earlier=(ON_ALL_LAYERS,),
        )
        layers = manifest.get("layers")
        if layers is not None and type(layers) is not int:
            raise ModelError(f"{directory} names no number of layers: {layers!r}", mend=PACKAGED_AGAIN)
        fits = set(arrays) == {"weights", "bias", "centre"} and len(arrays["bias"]) == len(INTENTS)
        if manifest.get("intents") != list(INTENTS) or not fits:
            raise ModelError(f"{directory} holds an intent head of other intents", mend=PACKAGED_AGAIN)
        return cls(
            **arrays,
            distribution=str(manifest["distribution"]),
            sha256=str(manifest["weights_sha256"]),
            layers=layers,
        )


def fit_intent(encoder: MultilingualEncoder, vectors: Floats, labels: NDArray[np.int64], strength: float) -> IntentHead:
    """Fit the head by multinomial logistic regression.

    Args:
        encoder: what gave the vectors.
        vectors: float32 [num_phrasings, embedding_size].
        labels: int64 [num_phrasings], positions in ``INTENTS``; each occurs.
        strength: inverse of the L2 penalty.

    Raises:
        ModelError: an intent has no phrasing.
    """
    if set(labels.tolist()) != set(range(len(INTENTS))):
        raise ModelError("an intent has no training phrasing", mend="add templates to intent_templates.py")
    from sklearn.linear_model import LogisticRegression

    centre = vectors.mean(0)
    model = LogisticRegression(C=strength, max_iter=2000).fit(normalised(vectors - centre), labels)
    return IntentHead(
        model.coef_.astype(np.float32),
        model.intercept_.astype(np.float32),
        centre.astype(np.float32),
        encoder.distribution,
        encoder.sha256,
        encoder.num_layers,
    )

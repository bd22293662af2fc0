"""How relevant a product is to a query by what people judged: the cosine, and the words and letters that both share.

It is fitted where a shop has judgements, and then orders what search finds in the place of the head that knows vectors
alone. How much words count beside the cosine is learned, not set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import write_arrays, write_json
from pipelines.errors import ModelError
from pipelines.models.parts import PACKAGED_AGAIN, read_part
from pipelines.models.relevance import sigmoid
from pipelines.models.words import terms, words

if TYPE_CHECKING:
    from pipelines.models.judged import Judged
    from pipelines.models.lexical import Lexical

FORMAT_VERSION = 1
MANIFEST_FILE, ARRAYS_FILE = "judged.json", "judged.safetensors"
FEATURES = (
    "similarity",
    "keywords",
    "title_words",
    "rare_title_words",
    "title_letters",
    "shared_letters",
    "word_pairs",
    "title_length",
)
"""Columns of :meth:`Evidence.of`: the cosine; BM25 as a share of the best text's; the share of the query's words that
the title has, and the same with rare words counting more; the share of the query's letter triples that the title has,
and of those of either that both have; the share of the query's neighbouring words that are neighbours in the title;
the logarithm of the title's words."""
LETTERS = 3
PENALTY = 100.0
"""L2, on what is beside the cosine; of 5,000 judged pairs, 30 to 300 do alike."""
LOOSE = 10.0
"""The cosine's column is scaled up by this, so that it is hardly held back: few judgements change little else."""

Floats = NDArray[np.float32]


class Evidence:
    """Tells what a query and a product title share.

    Args:
        lexical: the catalogue's words, which say how rare a word is.
    """

    def __init__(self, lexical: Lexical) -> None:
        self.lexical = lexical

    @cached_property
    def _counts(self) -> dict[str, int]:
        """How many texts hold each stem, once for each way that it is written."""
        counts: dict[str, int] = {}
        for word, count in self.lexical.counts.items():
            for term in terms(word):
                counts[term] = counts.get(term, 0) + count
        return counts

    def _rarity(self, term: str) -> float:
        count = min(self._counts.get(term, 0), self.lexical.num_texts)
        return float(np.log1p((self.lexical.num_texts - count + 0.5) / (count + 0.5)))

    def of(self, query: str, titles: Sequence[str], similarity: Floats, keywords: Floats) -> Floats:
        """The features of one query and some products.

        Args:
            query: what a person typed.
            titles: of the products.
            similarity: float32 [num_titles], cosine of query and text.
            keywords: float32 [num_titles], BM25 as a share of the best text's.

        Returns:
            float32 [num_titles, len(FEATURES)], finite.
        """
        asked, letters = terms(query), _letters(query)
        pairs = set(pairwise(asked))
        rarity = np.array([self._rarity(term) for term in asked])
        rows = np.zeros((len(titles), len(FEATURES)), np.float32)
        rows[:, 0], rows[:, 1] = similarity, keywords
        for row, title in enumerate(titles):
            said = _read(title)
            found = np.array([term in said.terms for term in asked], np.float64)
            shared = len(letters & said.letters)
            rows[row, 2:] = (
                found.sum() / max(len(asked), 1),
                (found * rarity).sum() / max(float(rarity.sum()), 1e-9),
                shared / max(len(letters), 1),
                shared / max(len(letters | said.letters), 1),
                len(pairs & said.neighbours) / max(len(pairs), 1),
                np.log1p(said.length),
            )
        return rows

    def of_judged(self, judged: Judged, titles: Sequence[str], query_vectors: Floats, text_vectors: Floats) -> Floats:
        """The features of every judged pair, as search sees them.

        Args:
            judged: pairs.
            titles: of every text.
            query_vectors: float32 [num_queries, embedding_size], L2-normalised.
            text_vectors: float32 [num_texts, embedding_size], L2-normalised.
        """
        rows = np.zeros((len(judged.texts), len(FEATURES)), np.float32)
        for number, query in enumerate(judged.queries):
            mine = judged.query_index == number
            texts = judged.texts[mine]
            share = self.lexical.score(query)
            share = share / max(float(share.max(initial=0)), 1e-9)
            similarity = text_vectors[texts] @ query_vectors[number]
            rows[mine] = self.of(query, [titles[text] for text in texts], similarity, share[texts])
        return rows


@dataclass(frozen=True)
class JudgedHead:
    """``sigmoid(weights . features + bias)``.

    Args:
        weights: float32 [len(FEATURES)].
        bias: added to every logit.
    """

    weights: Floats
    bias: float

    def score(self, features: Floats) -> Floats:
        """The relevance, float32 [num_pairs], within 0..1.

        Args:
            features: float32 [num_pairs, len(FEATURES)], of :class:`Evidence`.
        """
        logits: Floats = np.add(features @ self.weights, self.bias, dtype=np.float32)
        return sigmoid(logits)

    def save(self, directory: Path) -> None:
        """Write the head into ``directory``, beside others."""
        arrays = {"weights": self.weights, "bias": np.array([self.bias], np.float32)}
        write_arrays(arrays, directory / ARRAYS_FILE)
        facts = {"format": "shoploom-judged", "format_version": FORMAT_VERSION, "features": list(FEATURES)}
        write_json(facts, directory / MANIFEST_FILE)

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """Read what :meth:`save` wrote; None where the folder holds no such head.

        Raises:
            ModelError: a file is missing, unreadable, of another format version or of other features.
        """
        if not (directory / MANIFEST_FILE).is_file():
            return None
        form = ("shoploom-judged", FORMAT_VERSION)
        facts, arrays = read_part(directory / MANIFEST_FILE, directory / ARRAYS_FILE, form, "head of judgements")
        told = set(arrays) == {"weights", "bias"} and arrays["weights"].shape == (len(FEATURES),)
        if facts.get("features") != list(FEATURES) or not told or not np.isfinite(arrays["weights"]).all():
            raise ModelError(f"{directory / ARRAYS_FILE} holds no weights of these features", mend=PACKAGED_AGAIN)
        return cls(arrays["weights"], float(arrays["bias"][0]))


def fit_judged(features: Floats, labels: Floats) -> JudgedHead | None:
    """Logistic regression on labels within 0..1.

    Args:
        features: float32 [num_pairs, len(FEATURES)], of queries that the encoder was not trained on.
        labels: float32 [num_pairs], the grade as a share of the highest.

    Returns:
        None where all pairs are judged alike, so that nothing can be learned.
    """
    if not len(labels) or np.ptp(labels) == 0:
        return None
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    scale = np.where(deviation < 1e-6, 0.0, 1.0 / np.maximum(deviation, 1e-6))
    scale[0] *= LOOSE
    rows = (features - mean) * scale
    answers = np.repeat([1, 0], len(rows))
    model = LogisticRegression(C=1 / PENALTY, max_iter=1000)
    model.fit(np.vstack([rows, rows]), answers, sample_weight=np.concatenate([labels, 1 - labels]).astype(np.float64))
    weights = model.coef_[0] * scale
    return JudgedHead(weights.astype(np.float32), float(model.intercept_[0] - mean @ weights))


class _Said(NamedTuple):
    """A title's stems, the pairs of neighbours among them, its runs of letters, and how many stems it has."""

    terms: frozenset[str]
    neighbours: frozenset[tuple[str, str]]
    letters: frozenset[str]
    length: int


@lru_cache(maxsize=65_536)
def _read(title: str) -> _Said:
    """What a title says; popular ones are read once."""
    said = terms(title)
    return _Said(frozenset(said), frozenset(pairwise(said)), _letters(title), len(said))


def _letters(text: str) -> frozenset[str]:
    """The runs of ``LETTERS`` letters in the words of a text, and over the spaces between and around them."""
    line = f" {' '.join(words(text))} "
    return frozenset(line[start : start + LETTERS] for start in range(len(line) - LETTERS + 1))

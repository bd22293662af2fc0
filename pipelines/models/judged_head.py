"""How relevant a product is to a query by what people judged: the cosines of its text and of its title alone, and the
words and letters that query and title share.

It is fitted where a shop has judgements, and then orders what search finds in the place of the head that knows vectors
alone. How much words count beside the cosines is learned, not set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import read_arrays, write_arrays, write_json
from pipelines.errors import DataError, ModelError
from pipelines.models.parts import PACKAGED_AGAIN, read_part
from pipelines.models.relevance import sigmoid
from pipelines.models.words import terms, words

if TYPE_CHECKING:
    from pipelines.models.judged import Judged
    from pipelines.models.lexical import Lexical

FORMAT_VERSION = 2
MANIFEST_FILE, ARRAYS_FILE, TITLES_FILE = "judged.json", "judged.safetensors", "titles.safetensors"
FEATURES = (
    "similarity",
    "title_similarity",
    "keywords",
    "title_words",
    "rare_title_words",
    "title_letters",
    "shared_letters",
    "word_pairs",
    "title_length",
)
"""Columns of :meth:`Evidence.of`: the cosines of query and text, and of query and title; BM25 as a share of the best
text's; the share of the query's words that the title has, and the same with rare words counting more; the share of the
query's letter triples that the title has, and of those of either that both have; the share of the query's neighbouring
words that are neighbours in the title; the logarithm of the title's words."""
LETTERS = 3
PENALTY = 100.0
"""L2, on what is beside the cosine; of 5,000 judged pairs, 30 to 300 do alike."""
LOOSE = 10.0
"""The cosine's column is scaled up by this, so that it is hardly held back: few judgements change little else."""

Floats = NDArray[np.float32]


class Evidence:
    """Tells what queries and the catalogue's texts share.

    Args:
        lexical: the catalogue's words, which say how rare a word is.
        titles: the title of each text.
        title_vectors: float32 [num_titles, embedding_size], L2-normalised, of the distinct titles.
        title_index: int32 [num_texts], which of them is each text's.
    """

    def __init__(
        self, lexical: Lexical, titles: Sequence[str], title_vectors: Floats, title_index: NDArray[np.int32]
    ) -> None:
        self.lexical = lexical
        self.titles = titles
        self.title_vectors = title_vectors
        self.title_index = title_index

    @classmethod
    def of_titles(cls, lexical: Lexical, titles: Sequence[str], encode: Callable[[Sequence[str]], Floats]) -> Self:
        """Encode the titles.

        Args:
            lexical: the catalogue's words.
            titles: the title of each text.
            encode: gives vectors of texts.
        """
        distinct = sorted(set(titles))
        place = {title: row for row, title in enumerate(distinct)}
        return cls(lexical, titles, encode(distinct), np.array([place[title] for title in titles], np.int32))

    @classmethod
    def load(cls, directory: Path, lexical: Lexical, titles: Sequence[str]) -> Self:
        """Read the vectors that :meth:`save` wrote.

        Raises:
            ModelError: they are missing, unreadable or of other titles.
        """
        path = directory / TITLES_FILE
        try:
            arrays = read_arrays(path)
        except DataError as error:
            raise ModelError(error.message, mend=PACKAGED_AGAIN) from error
        vectors, index = arrays.get("title_vectors"), arrays.get("title_index")
        if vectors is None or index is None or len(index) != len(titles) or index.max(initial=-1) >= len(vectors):
            raise ModelError(f"{path} holds no vectors of these titles", mend=PACKAGED_AGAIN)
        return cls(lexical, titles, vectors, index)

    def save(self, directory: Path) -> None:
        """Write the titles' vectors into ``directory``, beside the head."""
        arrays = {"title_vectors": self.title_vectors, "title_index": self.title_index}
        write_arrays(arrays, directory / TITLES_FILE)

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

    def of(
        self, query: str, vector: Floats, texts: NDArray[np.integer], similarity: Floats, keywords: Floats
    ) -> Floats:
        """The features of one query and some texts.

        Args:
            query: what a person typed.
            vector: float32 [embedding_size], the query's, L2-normalised.
            texts: int64 [num_wanted], rows of the texts.
            similarity: float32 [num_wanted], cosine of query and text.
            keywords: float32 [num_wanted], BM25 as a share of the best text's.

        Returns:
            float32 [num_wanted, len(FEATURES)], finite.
        """
        asked, letters = terms(query), _letters(query)
        pairs = set(pairwise(asked))
        rarity = np.array([self._rarity(term) for term in asked])
        rows = np.zeros((len(texts), len(FEATURES)), np.float32)
        rows[:, 0], rows[:, 2] = similarity, keywords
        rows[:, 1] = self.title_vectors[self.title_index[texts]] @ vector
        for row, text in enumerate(texts.tolist()):
            said = _read(self.titles[text])
            found = np.array([term in said.terms for term in asked], np.float64)
            shared = len(letters & said.letters)
            rows[row, 3:] = (
                found.sum() / max(len(asked), 1),
                (found * rarity).sum() / max(float(rarity.sum()), 1e-9),
                shared / max(len(letters), 1),
                shared / max(len(letters | said.letters), 1),
                len(pairs & said.neighbours) / max(len(pairs), 1),
                np.log1p(said.length),
            )
        return rows

    def of_judged(self, judged: Judged, query_vectors: Floats, text_vectors: Floats) -> Floats:
        """The features of every judged pair, as search sees them.

        Args:
            judged: pairs.
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
            rows[mine] = self.of(query, query_vectors[number], texts, similarity, share[texts])
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

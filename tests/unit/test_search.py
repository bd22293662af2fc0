"""Search by words: stems, spelling, BM25 and the graph of nearest texts, with floors of quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ModelError
from pipelines.models.lexical import Lexical
from pipelines.models.nearest import GRAPH_FILE, Nearest
from pipelines.models.spelling import Speller
from pipelines.models.words import stem, terms, words
from tests.tiny_models import files_of

TEXTS = [
    "frozen pizza, frozen pizza, grocery, national",
    "frozen pizza, private",
    "greek yogurt, dairy",
    "yogurt drinks, dairy",
    "strawberries, produce",
    "ice cream, frozen",
    "便宜 手机",
]


@pytest.fixture(scope="module")
def lexical() -> Lexical:
    return Lexical.fit(TEXTS)


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("pizzas", "pizza"),
        ("strawberries", "strawberry"),
        ("peaches", "peach"),
        ("boxes", "box"),
        ("glasses", "glass"),
        ("potatoes", "potato"),
        ("cookies", "cooky"),
        ("hummus", "hummus"),
        ("swiss", "swiss"),
        ("gas", "gas"),
        ("12s", "12s"),
    ],
)
def test_stem_leaves_plurals_alone_with_their_singular(plural: str, singular: str) -> None:
    assert stem(plural) == singular


def test_words_fold_case_and_width_and_part_letters_that_know_no_spaces() -> None:
    assert words("Frozen PIZZA, 12 oz") == ["frozen", "pizza", "12", "oz"]
    assert words("便宜的iPhone") == ["便", "宜", "的", "iphone"]
    assert terms("Peaches & crêpes") == ["peach", "crêpes"]


def test_lexical_ranks_texts_that_share_more_and_rarer_words_first(lexical: Lexical) -> None:
    scores = lexical.score("private pizzas")
    assert scores.argmax() == 1
    assert scores[0] > 0
    assert (scores[2:] == 0).all()
    assert lexical.score("手机").argmax() == 6


def test_lexical_scores_zero_where_no_word_is_known(lexical: Lexical) -> None:
    assert lexical.score("quantum ?!").tolist() == [0] * len(TEXTS)


def test_lexical_survives_its_files_with_equal_bytes(lexical: Lexical, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        Lexical.fit(TEXTS).save(tmp_path / name)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")
    loaded = Lexical.load(tmp_path / "first")
    np.testing.assert_array_equal(loaded.score("greek yogurts"), lexical.score("greek yogurts"))
    assert loaded.counts == lexical.counts


def test_lexical_names_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="words"):
        Lexical.load(tmp_path)
    with pytest.raises(ModelError, match="no product text"):
        Lexical.fit(["!!", ""])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("frozn piza", "frozen pizza"),
        ("yougrt", "yogurt"),
        ("strawbery", "strawberry"),
        ("icecream", "ice cream"),
        ("frozen pizzas", None),
        ("strawberry", None),
        ("healthy pizza", None),
        ("zzzzzz", None),
        ("12 oz pza", None),
        ("便宜", None),
    ],
)
def test_speller_sets_right_what_neither_catalogue_nor_language_knows(
    lexical: Lexical, typed: str, meant: str | None
) -> None:
    assert Speller(lexical.counts, lambda word: word == "healthy").correct(typed) == meant


def test_speller_finds_the_word_behind_most_single_typing_errors(lexical: Lexical) -> None:
    speller, generator = Speller(lexical.counts, lambda _: False), np.random.default_rng(5)
    right, meant = 0, ["frozen", "yogurt", "grocery", "national", "produce", "private"]
    for place in range(60):
        word = meant[place % len(meant)]
        spot = int(generator.integers(1, len(word) - 1))
        typed = [word[:spot] + word[spot + 1 :], word[:spot] + word[spot] + word[spot:]][place % 2]
        right += speller.correct(typed) in (word, None if typed in lexical.counts else word)
    assert right / 60 >= 0.95


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rows = np.random.default_rng(2).normal(size=(3000, 24)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_nearest_is_exact_in_a_small_catalogue(vectors: np.ndarray, tmp_path: Path) -> None:
    near = Nearest.fit(vectors, exact_up_to=3000)
    assert near.exact
    assert near.nearest(vectors[7], 10).tolist() == sorted(np.argsort(-(vectors @ vectors[7]))[:10].tolist())
    near.save(tmp_path)
    assert not (tmp_path / GRAPH_FILE).exists()
    assert near.nearest(vectors[0], 9999).shape == (3000,)


def test_nearest_looks_in_full_at_the_likely_ones_of_many_alone(vectors: np.ndarray) -> None:
    generator = np.random.default_rng(3)
    # As of texts: much along a few directions, a little along the others.
    spread = np.concatenate([np.ones(100), np.full(156, 0.1)]).astype(np.float32)
    many = (generator.normal(size=(6000, 256)).astype(np.float32) + 0.5) * spread
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    near = Nearest(many)
    missed = 0
    for vector in many[:100] + generator.normal(size=(100, 256)).astype(np.float32) * spread / 40:
        best = np.sort(np.argsort(-(many @ vector))[:50])
        found = near.nearest(vector, 50)
        assert np.array_equal(found, np.unique(found))
        missed += 50 - int(np.isin(best, found).sum())
    assert missed == 0
    assert near.nearest(many[0], 6000).tolist() == list(range(6000))


def test_nearest_by_graph_finds_nearly_all_and_survives_its_file(vectors: np.ndarray, tmp_path: Path) -> None:
    graph, exact = Nearest.fit(vectors, exact_up_to=100), Nearest(vectors)
    graph.save(tmp_path)
    loaded = Nearest.load(tmp_path, vectors)
    assert not loaded.exact
    shared = [np.isin(loaded.nearest(row, 10), exact.nearest(row, 10)).mean() for row in vectors[:50]]
    assert np.mean(shared) >= 0.97
    (tmp_path / "again").mkdir()
    Nearest.fit(vectors, exact_up_to=100).save(tmp_path / "again")
    assert (tmp_path / "again" / GRAPH_FILE).read_bytes() == (tmp_path / GRAPH_FILE).read_bytes()


def test_nearest_refuses_a_graph_of_other_vectors_or_none(vectors: np.ndarray, tmp_path: Path) -> None:
    Nearest.fit(vectors, exact_up_to=100).save(tmp_path)
    with pytest.raises(ModelError, match="2999 vectors"):
        Nearest.load(tmp_path, vectors[:2999])
    (tmp_path / GRAPH_FILE).write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match="holds no graph"):
        Nearest.load(tmp_path, vectors)

"""Search on queries of known answers: by meaning, by words, both, and both with misspelt words set right.

    .venv/bin/python tests/benchmarks/bench_search.py [WORKTREE]

WORKTREE holds the outputs of the stages up to ``train_bert``; without it the default data is landed and they run in a
temporary folder. The queries are product types that neither the encoder nor the head was trained on (the held-out part
of ``train_bert``), as they are written, with their brand, in the singular or plural that the catalogue does not use,
and misspelt once; a text answers where it has the type (and the brand). NDCG@10 over the catalogue's distinct texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from processor import processor
from worktree import worktree

from pipelines.artifacts import read_arrays, read_table
from pipelines.models.encoder import TextEncoder
from pipelines.models.lexical import Lexical
from pipelines.models.nearest import Nearest
from pipelines.models.relevance import RelevanceHead
from pipelines.models.search import Search
from pipelines.models.text_pairs import TextTable, hashed_share
from pipelines.models.texts import distinct_texts
from pipelines.params import PackageParams, TrainBertParams, load_params
from pipelines.prepared import PREPARED

QUERIES, SEED, FEWEST_ANSWERS = 150, 7, 3
BERT = Path("data/train_bert")
Ranking = Callable[[str], NDArray[np.int64]]


@dataclass(frozen=True)
class Asked:
    """A query, and the texts that answer it (bool [num_texts])."""

    words: str
    answers: NDArray[np.bool_]


def questions(table: TextTable, held_out: float, rng: np.random.Generator) -> dict[str, list[Asked]]:
    """Queries by kind, from held-out product types of letters only with a few answers at least."""
    kinds: dict[str, list[Asked]] = {"type": [], "brand and type": [], "other number": [], "misspelt": []}
    values = table.values["product_type"]
    for code in rng.permutation(len(values)):
        name, answers = values[code].lower(), table.codes["product_type"] == code
        plain = name.replace(" ", "")
        usable = plain.isalpha() and plain.isascii() and answers.sum() >= FEWEST_ANSWERS
        if hashed_share(values[code]) >= held_out or not usable:
            continue
        kinds["type"].append(Asked(name, answers))
        kinds["other number"].append(Asked(name[:-1] if name.endswith("s") else f"{name}s", answers))
        kinds["misspelt"].append(Asked(misspelt(name, rng), answers))
        private = table.values["brand"].index("Private") if "Private" in table.values["brand"] else -1
        both = answers & (table.codes["brand"] == private)
        if private >= 0 and both.any():
            kinds["brand and type"].append(Asked(f"private {name}", both))
        if len(kinds["type"]) == QUERIES:
            break
    return kinds


def misspelt(name: str, rng: np.random.Generator) -> str:
    """One letter of the longest word left out, doubled, swapped with the next or replaced."""
    parts = name.split()
    longest = max(range(len(parts)), key=lambda place: len(parts[place]))
    word = parts[longest]
    spot = int(rng.integers(1, max(len(word) - 1, 2)))
    other = "abcdefghijklmnopqrstuvwxyz"[int(rng.integers(26))]
    typed = (
        word[:spot] + word[spot + 1 :],
        word[:spot] + word[spot] + word[spot:],
        word[:spot] + word[spot : spot + 2][::-1] + word[spot + 2 :],
        word[:spot] + other + word[spot + 1 :],
    )[int(rng.integers(4))]
    return " ".join([*parts[:longest], typed, *parts[longest + 1 :]])


def ndcg(ranked: NDArray[np.int64], answers: NDArray[np.bool_]) -> float:
    """NDCG@10, binary gain."""
    worth = 1.0 / np.log2(np.arange(2, 12))
    hits = answers[ranked[:10]]
    return float((hits * worth[: len(hits)]).sum() / worth[: min(int(answers.sum()), 10)].sum())


def rankings(search: Search, keyword_weight: float, shortlist: int) -> dict[str, Ranking]:
    """What is compared, by name."""

    def dense(query: str) -> NDArray[np.int64]:
        similarity = search.embeddings @ search.encoder.encode([query.lower()])[0]
        return np.argsort(-similarity, kind="stable")[:10]

    def keywords(query: str) -> NDArray[np.int64]:
        return np.argsort(-search.lexical.score(query), kind="stable")[:10]

    def hybrid(query: str) -> NDArray[np.int64]:
        found = search.match(query, shortlist)
        return found.texts[np.argsort(-(found.relevance + keyword_weight * found.keywords), kind="stable")]

    return {
        "dense only": dense,
        "BM25 only": keywords,
        "hybrid": hybrid,
        "hybrid + spelling": lambda query: hybrid(search.correct(query) or query),
    }


def measure_worktree() -> None:
    """Print a row for each way of searching and a column for each kind of query."""
    bert, params = load_params(TrainBertParams, "train_bert"), load_params(PackageParams, "package")
    items, arrays = read_table(PREPARED / "items.parquet"), read_arrays(BERT / "texts.safetensors")
    texts, index = distinct_texts(items)
    search = Search(BERT, arrays["embeddings"].astype(np.float32), index, items["title"].to_pylist())
    search.encoder = TextEncoder.load(BERT / "encoder")
    search.relevance = RelevanceHead.load(BERT / "relevance")
    search.lexical, search.near = Lexical.fit(texts), Nearest(search.embeddings)
    kinds = questions(TextTable.of(items, texts, index), bert.held_out_types, np.random.default_rng(SEED))
    print(f"{len(texts):,} texts; {', '.join(f'{len(asked)} {kind}' for kind, asked in kinds.items())}; {processor()}")
    print(f"{'NDCG@10':20s}" + "".join(f"{kind:>16s}" for kind in kinds) + f"{'p50 ms':>10s}{'p99 ms':>10s}")
    for name, ranking in rankings(search, params.keyword_weight, params.shortlist).items():
        ranking("warm up")
        milliseconds: list[float] = []
        row = []
        for asked in kinds.values():
            values = []
            for one in asked:
                start = time.perf_counter()
                ranked = ranking(one.words)
                milliseconds.append(1000 * (time.perf_counter() - start))
                values.append(ndcg(ranked, one.answers))
            row.append(float(np.mean(values)) if values else float("nan"))
        half, most = np.percentile(milliseconds, [50, 99])
        print(f"{name:20s}" + "".join(f"{value:16.3f}" for value in row) + f"{half:10.1f}{most:10.1f}", flush=True)
    fixed = [search.correct(one.words) for one in kinds["misspelt"]]
    right = sum(corrected == before.words for corrected, before in zip(fixed, kinds["type"], strict=True) if corrected)
    spoiled = sum(search.correct(one.words) is not None for one in kinds["type"])
    print(f"spelling: {right} of {len(fixed)} set right exactly, {spoiled} of {len(kinds['type'])} right ones changed")


def main() -> None:
    """Measure the worktree that was named, or a fresh one."""
    with worktree(("validate", "prepare", "embed", "train_bert")):
        measure_worktree()


if __name__ == "__main__":
    main()

"""How long it takes to understand a query and to find the items that satisfy it, on a catalogue of 30,000 items.

    python tests/benchmarks/bench_understanding.py [--items 30000] [--rounds 200]

Prints the 50th and 99th percentile over queries of both languages, each asked ``rounds`` times, in time of
one core, beside what is asked.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipelines.serving.understanding.facets import facets
from pipelines.serving.understanding.masks import mask, price_preference
from pipelines.serving.understanding.understand import understand
from pipelines.serving.understanding.vocabulary import Vocabulary
from tests.understanding_shop import large_catalogue

QUERIES = (
    "cheap milk", "I want to buy a cheap pizza under 20", "organic soup without apple", "便宜的披萨 20元以下",
    "dog cat between 5 and 10 not brand 7", "chiese piza 12 oz", "premium tea at least 20 oz",
    "我想买一款便宜的牛奶，不要有机",
    "bread", "flibbertigibbet juice",
)  # fmt: skip
MOST_MS = 2.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=200)
    chosen = parser.parse_args()
    start = time.perf_counter()
    shop = Vocabulary.of(large_catalogue(chosen.items))
    print(f"{chosen.items:,} items, {len(shop.phrases):,} phrases, read in {time.perf_counter() - start:.1f} s")
    taken: dict[str, list[float]] = {"understand": [], "mask": [], "price preference": [], "facets": []}
    for _ in range(chosen.rounds):
        for query in QUERIES:
            times = [time.thread_time()]
            constraints = understand(query, shop).constraints
            times.append(time.thread_time())
            allowed = mask(constraints, shop)
            times.append(time.thread_time())
            price_preference(constraints, shop)
            times.append(time.thread_time())
            facets(allowed, shop)
            times.append(time.thread_time())
            for name, took in zip(taken, np.diff(times), strict=True):
                taken[name].append(1e3 * float(took))
    for name, all_ms in taken.items():
        middle, most = np.percentile(all_ms, (50, 99))
        asked = f"asked {MOST_MS:g} ms" if name in ("understand", "mask") else "nothing asked"
        print(f"{name:<18} {asked:<14} reached {middle:.2f} ms at p50, {most:.2f} ms at p99")


if __name__ == "__main__":
    main()

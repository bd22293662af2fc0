"""Stage ``train_intent``: the head that tells what a query wants, fitted on templates in two languages and on the names
of what the shop sells, which a shopper types as they are.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from pipelines.artifacts import atomic_directory, read_table, write_json
from pipelines.models.files import CHOSEN_FILE, NOT_CHOSEN
from pipelines.models.intent import IntentHead, fit_intent
from pipelines.models.intent_templates import INTENTS, OUT_OF_SCOPE, named, training_phrasings
from pipelines.models.multilingual import MultilingualEncoder, loaded
from pipelines.params import EmbedMultilingualParams, SeedParams, TrainIntentParams, load_params
from pipelines.stages import run_main

ITEMS = Path("data/prepared/items.parquet")
OUTPUT = Path("data/train_intent")
MEASURED = 300
"""Names that were not trained on, on which it is measured how many are taken for out of scope."""


def product_types(items: Path) -> list[str]:
    """What the shop sells, as a shopper types it: its product types, those of the most items first.

    Args:
        items: a table with their ``product_type``.
    """
    counts = Counter(read_table(items, ["product_type"])["product_type"].to_pylist())
    counts.pop(None, None)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    return list(dict.fromkeys(" ".join(name.lower().split()) for name in ordered))


def out_of_scope_share(head: IntentHead, encoder: MultilingualEncoder, names: list[str]) -> float:
    """The share of names, one at least, that the head takes for what the shop cannot answer.

    Args:
        head: fitted.
        encoder: what it was fitted on.
        names: as shoppers type them.
    """
    told = head.probabilities(encoder.encode_queries(names)).argmax(1)
    return float((told == INTENTS.index(OUT_OF_SCOPE)).mean())


def main() -> None:
    """Fill the templates, encode, fit, write; or say that no encoder is chosen that reads both languages."""
    params, encoder_params = (
        load_params(TrainIntentParams, "train_intent"),
        load_params(EmbedMultilingualParams, "embed_multilingual"),
    )
    with atomic_directory(OUTPUT) as output:
        (output / "head").mkdir()
        metrics: dict[str, float] = {}
        if encoder_params.weights:
            names = product_types(ITEMS)
            filled = training_phrasings(params.copies, load_params(SeedParams, "seed").value)
            phrasings, labels = named(*filled, names[: params.own_names])
            encoder = loaded(encoder_params.weights, encoder_params.weights_sha256, params.layers)
            vectors = encoder.encode_queries(phrasings, "encode phrasings")
            head = fit_intent(encoder, vectors, np.array(labels, np.int64), params.strength)
            head.save(output / "head")
            told = head.probabilities(vectors).argmax(1)
            metrics = {"phrasings": len(phrasings), "training_accuracy": float((told == labels).mean())}
            if others := names[params.own_names :][:MEASURED]:
                metrics["own_names_out_of_scope"] = out_of_scope_share(head, encoder, others)
            print(f"{len(phrasings)} phrasings of {len(INTENTS)} intents: {metrics['training_accuracy']:.3f} fitted")
        else:
            write_json(NOT_CHOSEN, output / "head" / CHOSEN_FILE)
            print("no second encoder is chosen (embed_multilingual.weights): no intent head")
        write_json(metrics, output / "metrics.json")


if __name__ == "__main__":
    run_main(main)

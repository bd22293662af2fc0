"""Stage ``train_intent``: the head that tells what a query wants, fitted on templates in two languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.artifacts import atomic_directory, write_json
from pipelines.models.files import CHOSEN_FILE, NOT_CHOSEN
from pipelines.models.intent import fit_intent
from pipelines.models.intent_templates import INTENTS, training_phrasings
from pipelines.models.multilingual import MultilingualEncoder
from pipelines.params import EmbedMultilingualParams, SeedParams, TrainIntentParams, load_params
from pipelines.stages import run_main

OUTPUT = Path("data/train_intent")


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
            phrasings, labels = training_phrasings(params.copies, load_params(SeedParams, "seed").value)
            encoder = MultilingualEncoder(encoder_params.weights, encoder_params.weights_sha256)
            vectors = encoder.encode_queries(phrasings, "encode phrasings")
            head = fit_intent(encoder, vectors, np.array(labels, np.int64), params.strength)
            head.save(output / "head")
            told = head.probabilities(vectors).argmax(1)
            metrics = {"phrasings": len(phrasings), "training_accuracy": float((told == labels).mean())}
            print(f"{len(phrasings)} phrasings of {len(INTENTS)} intents: {metrics['training_accuracy']:.3f} fitted")
        else:
            write_json(NOT_CHOSEN, output / "head" / CHOSEN_FILE)
            print("no second encoder is chosen (embed_multilingual.weights): no intent head")
        write_json(metrics, output / "metrics.json")


if __name__ == "__main__":
    run_main(main)

"""``train_mf``: purchases -> item factors by alternating least squares, before each window."""

from __future__ import annotations

from pathlib import Path

from pipelines.artifacts import atomic_directory, write_json
from pipelines.models.base import Histories
from pipelines.models.matrix_factorization import FactorizationSettings, MatrixFactorization
from pipelines.models.popularity import Popularity
from pipelines.params import SeedParams, TrainMfParams, WindowParams, load_params
from pipelines.prepared import read_events, read_histories, read_space
from pipelines.stages import run_main
from pipelines.validation import measure

OUTPUT = Path("data/train_mf")


def train_mf(histories: Histories, params: TrainMfParams, seed: int) -> MatrixFactorization:
    """Factorize the purchases of ``histories``."""
    settings = FactorizationSettings(
        factors=params.factors,
        regularization=params.regularization,
        alpha=params.alpha,
        iterations=params.iterations,
        seed=seed,
        threads=params.threads,
    )
    return MatrixFactorization.fit(histories, settings)


def main() -> None:
    """Fit before the validation window and before the test window; measure the first on the validation window."""
    params, seed = load_params(TrainMfParams, "train_mf"), load_params(SeedParams, "seed").value
    window, space = load_params(WindowParams, "window"), read_space()
    histories = read_histories("validation", space)
    model = train_mf(histories, params, seed)
    with atomic_directory(OUTPUT / "validation") as directory:
        model.save(directory)
    candidates = Popularity.fit(histories).candidates(window.min_buyers)
    metrics = measure(model, histories, candidates, read_events(["validation"]).keys(space))
    print(f"validation window: NDCG@10 {metrics['ndcg_at_10']:.4f}, new to the user {metrics['ndcg_at_10_new']:.4f}")
    final = train_mf(read_histories("test", space), params, seed)
    with atomic_directory(OUTPUT / "final") as directory:
        final.save(directory)
    write_json({"validation": metrics, "items": len(final.item_ids)}, OUTPUT / "metrics.json")


if __name__ == "__main__":
    run_main(main)

"""``train_mf``: purchases -> item factors by alternating least squares, before each window."""

from __future__ import annotations

from pathlib import Path

from pipelines.artifacts import write_json
from pipelines.models.matrix_factorization import FactorizationSettings, MatrixFactorization
from pipelines.params import SeedParams, TrainMfParams, load_params
from pipelines.stages import run_main
from pipelines.validation import fit_twice

OUTPUT = Path("data/train_mf")


def main() -> None:
    """Fit before the validation window and before the test window; measure the first on the validation window."""
    params, seed = load_params(TrainMfParams, "train_mf"), load_params(SeedParams, "seed").value
    settings = params.settings(FactorizationSettings, seed=seed)
    metrics, final = fit_twice(lambda histories: MatrixFactorization.fit(histories, settings), OUTPUT)
    write_json({"validation": metrics, "items": len(final.item_ids)}, OUTPUT / "metrics.json")


if __name__ == "__main__":
    run_main(main)

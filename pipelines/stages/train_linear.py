"""``train_linear``: purchases -> EASE in its dual form, before each window."""

from __future__ import annotations

from pathlib import Path

from pipelines.artifacts import write_json
from pipelines.models.linear import Linear
from pipelines.params import TrainLinearParams, load_params
from pipelines.stages import run_main
from pipelines.validation import fit_twice

OUTPUT = Path("data/train_linear")


def main() -> None:
    """Fit before the validation window and before the test window; measure the first on the validation window."""
    params = load_params(TrainLinearParams, "train_linear")
    metrics, final = fit_twice(lambda histories: Linear.fit(histories, params.regularization, params.power), OUTPUT)
    write_json({"validation": metrics, "users": final.purchases.shape[0]}, OUTPUT / "metrics.json")


if __name__ == "__main__":
    run_main(main)

"""``train_linear``: purchases -> EASE in its dual form, before each window."""

from __future__ import annotations

from pathlib import Path

from pipelines.artifacts import atomic_directory, write_json
from pipelines.models.base import Histories
from pipelines.models.linear import Linear
from pipelines.models.popularity import Popularity
from pipelines.params import TrainLinearParams, WindowParams, load_params
from pipelines.prepared import read_events, read_histories, read_space
from pipelines.stages import run_main
from pipelines.validation import measure

OUTPUT = Path("data/train_linear")


def train_linear(histories: Histories, params: TrainLinearParams) -> Linear:
    """Solve EASE on the purchases of ``histories``."""
    return Linear.fit(histories, params.regularization, params.power)


def main() -> None:
    """Fit before the validation window and before the test window; measure the first on the validation window."""
    params = load_params(TrainLinearParams, "train_linear")
    window, space = load_params(WindowParams, "window"), read_space()
    histories = read_histories("validation", space)
    model = train_linear(histories, params)
    with atomic_directory(OUTPUT / "validation") as directory:
        model.save(directory)
    candidates = Popularity.fit(histories).candidates(window.min_buyers)
    metrics = measure(model, histories, candidates, read_events(["validation"]).keys(space))
    print(f"validation window: NDCG@10 {metrics['ndcg_at_10']:.4f}, new to the user {metrics['ndcg_at_10_new']:.4f}")
    final = train_linear(read_histories("test", space), params)
    with atomic_directory(OUTPUT / "final") as directory:
        final.save(directory)
    write_json({"validation": metrics, "users": final.purchases.shape[0]}, OUTPUT / "metrics.json")


if __name__ == "__main__":
    run_main(main)

"""``train_*``: one model of behaviour, named on the command line, fitted before each window.

    python -m pipelines.stages.train linear

Its stage in ``dvc.yaml`` is the one that the model states; it depends on the model's module and on no other model's. A
model that ``params.yaml`` does not choose leaves folders that say so, at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.artifacts import write_json
from pipelines.models.named import model_class
from pipelines.params import load_models
from pipelines.stages import run_main
from pipelines.validation import fit_twice, leave_out


def train(name: str) -> None:
    """Fit before the validation window and before the test window; measure the first on the validation window.

    Args:
        name: of the model.

    Raises:
        ConfigError: there is no such model, or a setting is wrong.
        ModelError: it cannot be fitted.
    """
    kind = model_class(name)
    output = Path("data") / str(kind.stage)
    if not load_models().get(name, False):
        leave_out(output)
        return
    metrics, final = fit_twice(kind, output)
    write_json({"validation": metrics, **final.facts()}, output / "metrics.json")


def main(arguments: list[str] | None = None) -> None:
    """Read the model's name and train it."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.stages.train", description=__doc__)
    parser.add_argument("model", help="its name, which is its module's in pipelines/models")
    train(parser.parse_args(arguments).model)


if __name__ == "__main__":
    run_main(main)

"""``fuse``: behaviour and text vectors -> one space for users and items, known and cold; and a picture of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import read_table, write_json, write_picture
from pipelines.models.base import Training
from pipelines.models.fused import Fused, FusionSettings, principal_components, text_to_behaviour
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.popularity import Popularity
from pipelines.params import SeedParams, load_models, load_params
from pipelines.prepared import PREPARED, read_histories, read_space
from pipelines.stages import run_main
from pipelines.validation import fit_twice, leave_out, read_training

OUTPUT = Path("data/fuse")
DEPARTMENTS_COLOURED = 10
PICTURES = {"tsne.png": "t-SNE", "pca.png": "PCA"}


def projection_cosine(training: Training, settings: FusionSettings) -> float:
    """Mean cosine between true and predicted behaviour of a fifth of the bought items, held out of the projection."""
    behaviour, texts = training.fitted[MatrixFactorization.name], training.texts
    assert isinstance(behaviour, MatrixFactorization)
    assert texts is not None
    buyers = Popularity.of(training.histories).buyers
    items = np.arange(len(buyers), dtype=np.int32)
    true = behaviour.item_vectors(items).astype(np.float64)
    text = principal_components(texts.embeddings.astype(np.float64), settings.text_components)[0][texts.text_index]
    held_out = (items % 5 == 0) & (buyers > 0)
    predicted = text_to_behaviour(text, true, np.where(held_out, 0, buyers).astype(np.int32), settings.ridge)
    left, right = true[held_out], predicted[held_out]
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = (left * right).sum(axis=1) / np.maximum(lengths, 1e-12)
    return round(float(cosines.mean()), 4) if len(cosines) else 0.0


def pictured(
    vectors: NDArray[np.float32], departments: list[str | None], buyers: NDArray[np.int32], sample: int
) -> tuple[NDArray[np.float32], list[str]]:
    """What the pictures show: the most bought items.

    Returns:
        float32 [num_sampled, components], their directions, and the department of each.
    """
    chosen = np.sort(np.lexsort((np.arange(len(buyers)), -buyers))[:sample])
    lengths = np.linalg.norm(vectors[chosen], axis=1, keepdims=True)
    rows: NDArray[np.float32] = vectors[chosen] / np.maximum(lengths, np.float32(1e-12))
    return rows, [departments[item] or "unknown" for item in chosen]


def neighbourhoods(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """float32 [num_sampled, 2]: laid out by t-SNE, which keeps neighbours together."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(rows) < 5:
        return rows[:, :2]
    perplexity = min(30.0, (len(rows) - 1) / 3)
    with threadpool_limits(limits=1):
        layout = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(rows)
    return np.asarray(layout, np.float32)


def main_axes(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [num_sampled, 2]: the two principal components, which keep distances as well as a plane can."""
    if len(rows) < 2:
        return rows[:, :2]
    return principal_components(rows.astype(np.float64), 2)[0].astype(np.float32)


def draw(layout: NDArray[np.float32], departments: list[str], how: str, path: Path) -> None:
    """Write the picture as PNG; the commonest departments have a colour each."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), dpi=110)
    axes = figure.add_subplot()
    common = [name for name, _ in sorted(Counter(departments).items(), key=lambda pair: (-pair[1], pair[0]))]
    owners = np.array(departments)
    for place, name in enumerate(common):
        points = layout[owners == name]
        coloured = place < DEPARTMENTS_COLOURED
        colour = colormaps["tab10"](place) if coloured else "#cccccc"
        label = name if coloured else ("others" if place == DEPARTMENTS_COLOURED else None)
        axes.scatter(points[:, 0], points[:, 1], s=6, color=colour, label=label, linewidths=0)
    axes.set_title(f"Fused vectors of the most bought products ({how}), by department")
    axes.set_xticks([])
    axes.set_yticks([])
    if common:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=3, frameon=False)
    figure.tight_layout()
    write_picture(figure, path)


def main() -> None:
    """Fuse before the validation window and before the test window; measure the first; draw the second."""
    if not load_models().get(Fused.name, False):
        leave_out(OUTPUT)
        for name, how in PICTURES.items():
            draw(np.zeros((0, 2), np.float32), [], how, OUTPUT / name)
        return
    settings, seed = load_params(FusionSettings, "fuse"), load_params(SeedParams, "seed").value
    metrics, final = fit_twice(Fused, OUTPUT)
    cosine = projection_cosine(read_training(Fused, "validation"), settings)
    buyers = Popularity.of(read_histories("test", read_space())).buyers
    departments = read_table(PREPARED / "items.parquet", ["department"])["department"].to_pylist()
    rows, shown = pictured(final.vectors, departments, buyers, settings.picture_items)
    for (name, how), layout in zip(PICTURES.items(), (neighbourhoods(rows, seed), main_axes(rows)), strict=True):
        draw(layout, shown, how, OUTPUT / name)
    facts = {
        "validation": metrics,
        "explained_variance": round(float(final.explained.sum()), 4),
        "cold_items": int((buyers == 0).sum()),
        "projection_cosine": cosine,
    }
    write_json(facts, OUTPUT / "metrics.json")


if __name__ == "__main__":
    run_main(main)

"""The validation window: how good a model that was fitted before it would have been."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory, read_table, write_json
from pipelines.errors import ModelError, PackageFormatError
from pipelines.metrics.ranking import mean, ndcg, rank_users
from pipelines.models.attributes import Attributes
from pipelines.models.base import Histories, Model, Previous, Scoring, Training
from pipelines.models.files import CHOSEN_FILE, NOT_CHOSEN, SETTINGS_FILE, load_trained, read_texts
from pipelines.models.histories import dense_columns, look_up, purchase_counts
from pipelines.models.manifest import CATALOGUE_FOLDER, RANKER_FOLDER, verify
from pipelines.models.named import model_class
from pipelines.models.popularity import Popularity
from pipelines.models.training import CURVES_FILE, forget
from pipelines.params import SeedParams, WindowParams, load_params
from pipelines.prepared import PREPARED, Space, read_events, read_histories, read_space
from pipelines.stage_environment import side_folder

_Fitted = TypeVar("_Fitted", bound=Model)
DATA = Path("data")
ACCEPTED_ITEMS = DATA / "accepted" / "items.parquet"
PREVIOUS = DATA / "previous"
TEXTS = DATA / "train_bert" / "texts.safetensors"
WINDOWS: tuple[tuple[Literal["validation", "test"], str], ...] = (("validation", "validation"), ("test", "final"))
"""The window that a model is fitted before, and the folder that it is left in."""


def fit_twice(kind: type[_Fitted], output: Path) -> tuple[dict[str, float], _Fitted]:
    """Fit a model before the validation window and before the test window, and judge the first.

    Args:
        kind: of the model; its section of ``params.yaml`` says how.
        output: gets the folders ``validation`` and ``final``.

    Returns:
        What :func:`judge` says, and the model fitted before the test window.
    """
    settings, space = load_params(kind.Settings, str(kind.stage)), read_space()
    sides = [side_folder(str(kind.stage)) / folder for _, folder in WINDOWS]
    for side in sides:
        forget(side, CURVES_FILE)
    metrics: dict[str, float] = {}
    for before, folder in WINDOWS:
        training = read_training(kind, before)
        model = kind.fit(training, settings)
        with atomic_directory(output / folder) as directory:
            model.save(directory)
        if before == "validation":
            metrics = judge(model, training.histories, Popularity.of(training.histories), space)
    for side in sides:
        forget(side)
    return metrics, model


def read_training(kind: type[Model], before: Literal["validation", "test"]) -> Training:
    """What a model may learn from before a window: the purchases, and what it asks for beside them.

    Raises:
        DataError: a file is missing.
        ModelError: a model that it builds on is missing.
    """
    folder = dict(WINDOWS)[before]
    stages = {name: model_class(name) for name in kind.needs}
    space = read_space()
    return Training(
        histories=read_histories(before, space),
        texts=read_texts(TEXTS) if kind.reads_texts else None,
        fitted={name: load_trained(needed, DATA / str(needed.stage) / folder) for name, needed in stages.items()},
        seed=load_params(SeedParams, "seed").value,
        side=side_folder(str(kind.stage)) / folder,
        attributes=read_attributes() if kind.reads_attributes else None,
        previous=read_previous(kind, space) if kind.starts_warm and before == "test" else None,
    )


def read_previous(kind: type[Model], space: Space, package: Path = PREVIOUS) -> Previous | None:
    """The model as the champion holds it, where ``params.yaml`` asks for a warm start (``warm``) and it is pinned.

    Only what is fitted before the test window may start from it: the champion knows the validation window, on which
    choices are made. One that knows the test window too is not used, nor one in another version's format.

    Raises:
        ModelError: the package is not whole.
    """
    folder = package / RANKER_FOLDER / kind.name
    if not (folder / SETTINGS_FILE).is_file():
        return None
    try:
        facts = verify(package)
    except PackageFormatError as error:
        print(f"{error.message}: no warm start")
        return None
    if facts.trained_until >= space.test_starts:
        print("the champion knows the test window: no warm start")
        return None
    try:
        kind.load(folder)
    except ModelError as error:  # every byte is as it was packaged: another version's model, not damage
        print(f"{error.message}: no warm start")
        return None
    names = read_table(package / CATALOGUE_FOLDER / "items.parquet", ["item_id"])["item_id"].to_pylist()
    ours = read_table(PREPARED / "items.parquet", ["item_id"])["item_id"].to_pylist()
    rows = {name: row for row, name in enumerate(ours)}
    return Previous(folder, np.fromiter((rows.get(name, -1) for name in names), np.int32, len(names)))


def read_attributes(prepared: Path = PREPARED, accepted: Path = ACCEPTED_ITEMS) -> Attributes:
    """The groups that each item belongs to, by the accepted catalogue's attributes too.

    Raises:
        DataError: a file is missing.
    """
    items = read_table(prepared / "items.parquet", ["item_id", "category", "brand"])
    told = read_table(accepted, ["item_id", "attributes"])
    by_id = dict(zip(told["item_id"].to_pylist(), told["attributes"].to_pylist(), strict=True))
    return Attributes.of_items(items, [dict(by_id.get(name) or ()) for name in items["item_id"].to_pylist()])


def leave_out(output: Path) -> None:
    """Leave folders that say that the model was not chosen, in its place, and no curves of an earlier run."""
    shutil.rmtree(side_folder(output.name), ignore_errors=True)
    for _, folder in WINDOWS:
        with atomic_directory(output / folder) as directory:
            write_json(NOT_CHOSEN, directory / CHOSEN_FILE)
    write_json(NOT_CHOSEN, output / "metrics.json")
    print("not chosen")


def judge(model: Scoring, histories: Histories, popularity: Popularity, space: Space) -> dict[str, float]:
    """Measure a model on the validation window, and print what came out.

    Args:
        model: fitted before the window.
        histories: purchases before the window.
        popularity: of the histories.
        space: the dense ids.
    """
    candidates = popularity.candidates(load_params(WindowParams, "window").min_buyers)
    metrics = measure(model, histories, candidates, read_events(["validation"]).keys(space))
    print(f"validation window: NDCG@10 {metrics['ndcg_at_10']:.4f}, new to the user {metrics['ndcg_at_10_new']:.4f}")
    return metrics


def measure(
    model: Scoring, histories: Histories, candidates: NDArray[np.int32], purchases: NDArray[np.int64]
) -> dict[str, float]:
    """NDCG@10 over what was bought in a window, by the protocol of the design.

    Args:
        model: fitted before the window.
        histories: purchases before the window.
        candidates: int32 [num_candidates], ascending.
        purchases: int64, ascending: ``user * num_items + item`` of every purchase in the window.

    Returns:
        ``ndcg_at_10`` over all purchases and ``ndcg_at_10_new`` over products new to the user; 0 where no user
        has a relevant item.
    """
    every: list[NDArray[np.float64]] = []
    new: list[NDArray[np.float64]] = []
    for start, chunk in histories.chunks():
        scores = model.score(chunk, candidates)
        first, last = np.searchsorted(purchases, np.array([start, start + chunk.num_users]) * histories.num_items)
        users, items = np.divmod(purchases[first:last], histories.num_items)
        places, offered = look_up(candidates, items)
        relevant = np.zeros(scores.shape, bool)
        relevant[users[offered] - start, places[offered]] = True
        bought = dense_columns(purchase_counts(chunk), candidates) > 0
        every.append(ndcg(rank_users(scores, relevant, 10)))
        new.append(ndcg(rank_users(scores, relevant, 10, excluded=bought)))
    return {"ndcg_at_10": _mean(every), "ndcg_at_10_new": _mean(new)}


def _mean(parts: list[NDArray[np.float64]]) -> float:
    return round(mean(np.concatenate([np.zeros(0), *parts])) or 0.0, 6)

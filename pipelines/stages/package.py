"""``package``: everything the served model needs, in one folder that stands by itself.

    data/package/
    ├── manifest.json     format version, facts, SHA-256 of every file
    ├── catalogue/        items, known users and their purchases before the test window
    ├── ranker/           the blend and its fitted component models; a graph of the items where they are many
    └── search/           the fine-tuned encoder, its relevance head, the texts' words, a graph where they are many;
                          the index for other scripts and the intent head, where they are chosen

No file holds code, a time or a path, so equal parts give an equal package.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.artifacts import atomic_directory, read_table
from pipelines.errors import DataError
from pipelines.models.base import Histories
from pipelines.models.catalogue import ITEM_COLUMNS, Catalogue
from pipelines.models.files import CHOSEN_FILE
from pipelines.models.lexical import Lexical
from pipelines.models.manifest import (
    CATALOGUE_FOLDER,
    ENCODER_FOLDER,
    INTENT_FOLDER,
    MULTILINGUAL_FOLDER,
    RANKER_FOLDER,
    RELEVANCE_FOLDER,
    SEARCH_FOLDER,
    Facts,
    write_manifest,
)
from pipelines.models.near_items import NearItems
from pipelines.models.nearest import Nearest
from pipelines.models.ranker import Ranker
from pipelines.models.texts import distinct_texts
from pipelines.params import PackageParams, load_params
from pipelines.prepared import PREPARED, read_events, read_space
from pipelines.pseudonyms import key_of
from pipelines.stages import run_main

RANK = Path("data/rank/ranker")
BERT = Path("data/train_bert")
FIXED = {folder: BERT / Path(folder).name for folder in (ENCODER_FOLDER, RELEVANCE_FOLDER)}
OPTIONAL = {MULTILINGUAL_FOLDER: Path("data/embed_multilingual"), INTENT_FOLDER: Path("data/train_intent/head")}
"""Where a part of search lies that the settings may leave out."""
PACKAGE = Path("data/package")


def trained_until(days: NDArray[np.float64], cutoff: float) -> float:
    """The moment of the last training event.

    Args:
        days: float64 [num_events], days since the epoch, UTC.
        cutoff: days since the epoch, UTC, at which the test window starts.

    Raises:
        DataError: there is no event, or one lies at or after the cutoff.
    """
    if not len(days):
        raise DataError("there is no event before the test window", mend="shoploom ingest --from DAY")
    last = float(days.max())
    if last >= cutoff:
        raise DataError(
            f"a training event lies {last - cutoff:.3f} days into the test window",
            mend="SHOPLOOM_NO_CACHE=1 shoploom run",
        )
    return last


def catalogue(items: pa.Table, users: pa.Table, histories: Histories) -> Catalogue:
    """The shop before the test window: every item, and the users who had bought something by then.

    Args:
        items: of ``prepare``.
        users: of ``prepare``.
        histories: of all users, from every event before the test window.
    """
    known = np.flatnonzero(np.diff(histories.indptr) > 0).astype(np.int32)
    names = users["user_id"].to_pylist()
    known_names = tuple(names[row] for row in known)
    return Catalogue(items.select(list(ITEM_COLUMNS)), known_names, histories.pick(known), key_of(users.schema))


@dataclass(frozen=True)
class Index:
    """How texts and items are found.

    Args:
        lexical: texts by words.
        near: texts by meaning.
        items: items by what shoppers bought; None where all are scored.
    """

    lexical: Lexical
    near: Nearest
    items: NearItems | None

    def save(self, package: Path) -> None:
        """Write all into a package."""
        self.lexical.save(package / SEARCH_FOLDER)
        self.near.save(package / SEARCH_FOLDER)
        if self.items is not None:
            self.items.save(package / RANKER_FOLDER)


def index_of(items: pa.Table, ranker: Ranker, params: PackageParams) -> Index:
    """Index the distinct texts that the ranker's vectors describe, and the items that may be recommended.

    Raises:
        DataError: the vectors are of other texts than the items'.
    """
    texts, index = distinct_texts(items)
    if not np.array_equal(index, ranker.signals.texts.text_index):
        raise DataError("the text vectors are of other items than these", mend="SHOPLOOM_NO_CACHE=1 shoploom run")
    near = Nearest.fit(ranker.signals.texts.embeddings, params.exact_texts)
    return Index(Lexical.fit(texts), near, NearItems.fit(ranker, params.exact_items))


def package(
    shop: Catalogue, ranker: Ranker, index: Index, sources: Mapping[str, Path], facts: Facts, directory: Path
) -> None:
    """Write the package into ``directory``, which exists and is empty.

    Args:
        shop: items, users and histories.
        ranker: assembled from models fitted on everything before the test window.
        index: of the ranker's distinct texts and items.
        sources: folders of search, and where they come from; one that was not chosen is left out.
        facts: for the manifest.
        directory: of the package.
    """
    for folder in (CATALOGUE_FOLDER, RANKER_FOLDER):
        (directory / folder).mkdir()
    shop.save(directory / CATALOGUE_FOLDER)
    ranker.save(directory / RANKER_FOLDER)
    for folder, source in sources.items():
        if not source.is_dir():
            raise DataError(f"{source} does not exist", mend="shoploom run makes it")
        if not (source / CHOSEN_FILE).exists():
            shutil.copytree(source, directory / folder, copy_function=shutil.copyfile)
    index.save(directory)
    write_manifest(directory, facts)


def main() -> None:
    """Assemble the ranker fitted before the test window and write the package."""
    params = load_params(PackageParams, "package")
    space, events = read_space(), read_events(["history", "validation"])
    items, users = (read_table(PREPARED / f"{name}.parquet") for name in ("items", "users"))
    shop = catalogue(items, users, events.histories(space, space.test_starts))
    ranker = Ranker.assemble(RANK, BERT / "texts.safetensors")
    index = index_of(items, ranker, params)
    facts = Facts(
        trained_until=trained_until(events.days, space.test_starts),
        as_of=space.test_starts,
        shortlist=params.shortlist,
        popularity_weight=params.popularity_weight,
        personal_weight=params.personal_weight,
        keyword_weight=params.keyword_weight,
        popularity_debias=params.popularity_debias,
        diversity=params.diversity,
    )
    with atomic_directory(PACKAGE) as directory:
        package(shop, ranker, index, FIXED | OPTIONAL, facts, directory)
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    print(f"packaged {shop.num_items:,} items and {len(shop.user_ids):,} users in {size / 1e6:.0f} MB")


if __name__ == "__main__":
    run_main(main)

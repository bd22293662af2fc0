"""The champion's quality on a window that came after it: its package, scored unchanged with everybody's history so far.

``python -m pipelines.monitoring.quality REQUEST ANSWER``: two JSON files. The request names ``package``, ``partitions``
(name -> Parquet file, oldest first: everything since the champion's histories end), ``windows`` (names among them),
``event_types``, ``users`` and ``seed``. The answer gives, by window, ``ndcg_at_10`` and ``users``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines import validation
from pipelines.artifacts import parquet_file, read_json, read_table, write_json
from pipelines.models.base import Histories
from pipelines.models.catalogue import Catalogue
from pipelines.models.manifest import CATALOGUE_FOLDER, RANKER_FOLDER, verify
from pipelines.models.ranker import Ranker
from pipelines.pseudonyms import key_of, renewed_ids
from pipelines.sources.calendars import parse_partition, time_zone_of
from pipelines.stage_environment import state_folder

COLUMNS = ["user_id", "item_id", "event_type", "timestamp", "quantity"]
DAY = 86_400.0


@dataclass(frozen=True)
class Champion:
    """The parts of a package that recommend.

    Args:
        catalogue: items and known users.
        ranker: scores.
        candidates: int32, ascending: items that may be recommended.
        as_of: days since the epoch at which the catalogue's histories end.
    """

    catalogue: Catalogue
    ranker: Ranker
    candidates: NDArray[np.int32]
    as_of: float

    @classmethod
    def load(cls, package: Path) -> Champion:
        """Read a package after checking every file against its manifest.

        Raises:
            ModelError: a file is missing or changed.
        """
        facts = verify(package)
        ranker = Ranker.load(package / RANKER_FOLDER)
        candidates = ranker.signals.popularity.candidates(ranker.min_buyers)
        return cls(Catalogue.load(package / CATALOGUE_FOLDER), ranker, candidates, facts.as_of)

    def known_under(self, key: str) -> Champion:
        """The same, its users known by pseudonyms under another key: they may have been rekeyed since it was trained.

        Raises:
            ConfigError: the key ring lacks a key.
        """
        catalogue = self.catalogue
        names = renewed_ids(catalogue.user_ids, catalogue.user_key, key, state_folder())
        return replace(self, catalogue=replace(catalogue, user_ids=names, user_key=key))


@dataclass(frozen=True)
class Bought:
    """Events of a partition that count, in the champion's item space.

    Args:
        users: str [num_events].
        items: int32 [num_events].
        days: float64 [num_events], days since the epoch.
        quantities: float32 [num_events], over 0.
        starts: days since the epoch of the partition's first moment.
    """

    users: NDArray[np.str_]
    items: NDArray[np.int32]
    days: NDArray[np.float64]
    quantities: NDArray[np.float32]
    starts: float


def read_bought(path: Path, partition: str, catalogue: Catalogue, event_types: Sequence[str]) -> Bought:
    """Read a raw partition; events of other types, of unknown items or of no quantity are left out."""
    rows = read_table(path, COLUMNS)
    starts = parse_partition(partition).starts(time_zone_of(rows.schema)).timestamp() / DAY
    amounts = pc.fill_null(rows["quantity"], 1.0)
    rows = rows.set_column(rows.column_names.index("quantity"), "quantity", amounts)
    rows = rows.filter(
        pc.and_(pc.is_in(rows["event_type"], pa.array(list(event_types))), pc.greater(rows["quantity"], 0.0))
    ).drop_null()
    names, inverse = np.unique(np.array(rows["item_id"].to_pylist(), np.str_), return_inverse=True)
    items = catalogue.rows_of(names)[inverse] if len(names) else np.zeros(0, np.int32)
    known = items >= 0
    return Bought(
        users=np.array(rows["user_id"].to_pylist(), np.str_)[known],
        items=items[known],
        days=(rows["timestamp"].cast(pa.int64()).to_numpy() / (DAY * 1e6))[known],
        quantities=rows["quantity"].to_numpy().astype(np.float32)[known],
        starts=starts,
    )


def measure(
    champion: Champion, earlier: Sequence[Bought], window: Bought, users: int, seed: int
) -> dict[str, float | int | None]:
    """NDCG@10 of one window.

    Args:
        champion: scored unchanged.
        earlier: everything between the champion's histories and the window.
        window: what was bought.
        users: how many of its users are asked, at most.
        seed: of their choice.

    Returns:
        ``ndcg_at_10``, None where nobody bought a candidate; ``users``, how many were asked.
    """
    relevant = np.isin(window.items, champion.candidates)
    names, first = np.unique(window.users[relevant], return_index=True)
    if not len(names):
        return {"ndcg_at_10": None, "users": 0}
    who = names[np.argsort(first)]  # by first event: the text of a pseudonym differs from machine to machine
    chosen = np.sort(np.random.default_rng(seed).permutation(who)[:users])
    histories = histories_of(champion, chosen, earlier, window.starts)
    rows = _rows(window.users, chosen)
    kept = relevant & (rows >= 0)
    purchases = np.unique(rows[kept] * histories.num_items + window.items[kept])
    found = validation.measure(champion.ranker, histories, champion.candidates, purchases)
    return {"ndcg_at_10": found["ndcg_at_10"], "users": len(chosen)}


def histories_of(champion: Champion, users: NDArray[np.str_], earlier: Sequence[Bought], as_of: float) -> Histories:
    """What users bought before a moment: what the package knows of them, and what came since."""
    catalogue = champion.catalogue
    known = np.array([catalogue.user_rows.get(str(user), -1) for user in users], np.int64)
    places = np.full(len(catalogue.user_ids), -1, np.int64)
    places[known[known >= 0]] = np.flatnonzero(known >= 0)
    rows = places[catalogue.histories.users_of_events()]
    kept = rows >= 0
    parts = [
        (
            rows[kept],
            catalogue.histories.items[kept],
            champion.as_of - catalogue.histories.ages[kept].astype(np.float64),
            catalogue.histories.quantities[kept],
        )
    ]
    for bought in earlier:
        rows = _rows(bought.users, users)
        kept = (rows >= 0) & (bought.days >= champion.as_of) & (bought.days < as_of)
        parts.append((rows[kept], bought.items[kept], bought.days[kept], bought.quantities[kept]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Histories.from_events(*columns, num_users=len(users), num_items=catalogue.num_items, as_of=as_of)


def _rows(names: NDArray[np.str_], users: NDArray[np.str_]) -> NDArray[np.int64]:
    """The place of each name among sorted ``users``; -1 where it is none: int64 [len(names)]."""
    places = np.minimum(np.searchsorted(users, names), len(users) - 1)
    return np.where(users[places] == names, places, -1)


def _key_of(partitions: Iterable[str]) -> str:
    """The key that a data version's users are known under; all its partitions say the same."""
    return key_of(parquet_file(Path(next(iter(partitions)))).schema_arrow)


def answer(request: Mapping[str, Any]) -> dict[str, dict[str, float | int | None]]:
    """Measure every window that a request names.

    Raises:
        ModelError: the package is damaged.
        DataError: a partition cannot be read.
    """
    champion = Champion.load(Path(request["package"])).known_under(_key_of(request["partitions"].values()))
    bought = {
        name: read_bought(Path(path), name, champion.catalogue, request["event_types"])
        for name, path in request["partitions"].items()
    }
    names = list(bought)
    return {
        name: measure(
            champion,
            [bought[before] for before in names[: names.index(name)]],
            bought[name],
            int(request["users"]),
            int(request["seed"]),
        )
        for name in request["windows"]
    }


def main() -> None:
    """Read a request, write its answer."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.monitoring.quality", description=__doc__)
    parser.add_argument("request", type=Path)
    parser.add_argument("answer", type=Path)
    chosen = parser.parse_args()
    write_json(answer(read_json(chosen.request)), chosen.answer)


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)

"""Files that were read before are left alone, and no row is lost or changed by it."""

from __future__ import annotations

import os
import tempfile
from datetime import date
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.landing import land
from pipelines.sources.tabular import Tabular, memory
from pipelines.sources.tabular.reader import read_mapping
from tests.tabular_shop import HEADER, MAPPING, write_shop
from tests.tiny_shop import KEYS

SHOP = MAPPING.replace("hash: [order, line]", "hash: true").replace("orders.csv.gz", "orders/*.csv")
FILES = 4
line = st.tuples(
    st.sampled_from(["1", "2"]),
    st.just("0"),
    st.sampled_from(["ann", "bob"]),
    st.just("P1"),
    st.just("1"),
    st.just("1,50"),
    st.sampled_from(["05.01.2024 10:00", "07.01.2024 23:59", "08.01.2024 00:00", "31.01.2024 10:00", "someday"]),
    st.sampled_from(["paid", "paid;too many"]),
).map(";".join)
placed = st.lists(st.tuples(st.integers(0, FILES - 1), line), min_size=1, max_size=10)
# One in each span that is asked for: a span without a whole week is refused.
always = [(0, f"1;0;ann;P1;1;1,50;{day}.01.2024 10:00;paid") for day in ("05", "12")]
again = (1, always[1][1])


def write(folder: Path, rows: list[tuple[int, str]]) -> None:
    """Each row into its file; a file whose rows stay is not touched."""
    (folder / "orders").mkdir(exist_ok=True)
    for number in range(FILES):
        text = "\n".join([HEADER, *(row for place, row in rows if place == number)]) + "\n"
        path = folder / "orders" / f"{number}.csv"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def landed(folder: Path, name: str, days: tuple[date, date] | None, home: Path) -> dict[str, bytes]:
    with mock.patch.dict(os.environ, {"SHOPLOOM_HOME": str(home)}):
        source = Tabular(read_mapping(folder / "shop.yaml"))
        land(source, *(days or (None, None)), folder / name, KEYS)
        source.engine.close()
    return {str(path.relative_to(folder / name)): path.read_bytes() for path in (folder / name).rglob("*.*")}


@settings(max_examples=6, deadline=None)
@given(
    placed,
    placed,
    st.sampled_from([None, (date(2024, 1, 1), date(2024, 1, 7)), (date(2024, 1, 8), date(2024, 1, 31))]),
)
def test_a_load_beside_remembered_files_gives_the_bytes_of_one_that_reads_them_all(
    first: list[tuple[int, str]], more: list[tuple[int, str]], days: tuple[date, date] | None
) -> None:
    with tempfile.TemporaryDirectory() as name, mock.patch.object(memory, "SETTLED_SECONDS", 0.0):
        folder = Path(name)
        write_shop(folder, [], SHOP)
        wider = [*first, *((place, row) for place, row in more if place == 1), *always, again, (1, more[0][1])]
        for step, rows in enumerate(([*always, again, *first], wider)):
            write(folder, rows)
            fresh = folder / f"home-{step}"
            chosen = days if step else None
            assert landed(folder, f"kept-{step}", chosen, folder / "home") == landed(
                folder, f"whole-{step}", chosen, fresh
            )
        assert list((folder / "home" / "source_files").rglob("*.json"))

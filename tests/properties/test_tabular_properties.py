"""Mapping files: the order of lines does not matter, and mapping kept rows again changes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.tabular import Tabular
from pipelines.sources.tabular.reader import read_mapping
from tests.tabular_shop import MAPPING, write_shop

WHOLE_ROW = MAPPING.replace("hash: [order, line]", "hash: true")
line = st.tuples(
    st.sampled_from(["1", "2"]),
    st.sampled_from(["0", "1"]),
    st.sampled_from(["ann", "bob", "", "=1+1"]),
    st.sampled_from(["P1", "P2", ""]),
    st.sampled_from(["1", "-2", "0", "many", ""]),
    st.sampled_from(["1,50", "-3", "abc", "1e999", ""]),
    st.sampled_from(["05.01.2024 10:00", "31.03.2024 02:30", "31.02.2024 10:00", "someday", ""]),
    st.sampled_from(["paid", "open"]),
).map(";".join)


@settings(max_examples=12, deadline=None)
@given(st.lists(line, min_size=1, max_size=12).flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_rows_do_not_depend_on_the_order_of_lines_and_map_again_to_themselves(
    lines: tuple[list[str], list[str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources = [
            Tabular(read_mapping(write_shop(Path(folder) / name, rows, WHOLE_ROW)))
            for name, rows in zip("ab", lines, strict=True)
        ]
        one, other = (source.engine.rows("events") for source in sources)
        again = sources[0].engine.remap("events", one)
        for source in sources:
            source.engine.close()
    assert one.equals(other)
    assert again.equals(one)
    assert one.num_rows == sum(row.endswith("paid") for row in lines[0])
    kept = one["source_row"].to_pylist()
    assert not any("ann" in row or "bob" in row for row in kept)

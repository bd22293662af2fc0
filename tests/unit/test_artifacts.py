from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.artifacts import (
    atomic_directory,
    atomic_file,
    read_arrays,
    read_json,
    read_table,
    write_arrays,
    write_json,
    write_table,
)
from pipelines.errors import DataError
from pipelines.tables import TIMESTAMP


def test_atomic_file_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "value.json"
    write_json({"a": 1}, target)

    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError

    assert read_json(target) == {"a": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_directory_replaces_whole_and_leaves_the_old_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_directory(target) as temporary:
        (temporary / "old").touch()
    with atomic_directory(target) as temporary:
        (temporary / "new").touch()
    with pytest.raises(RuntimeError), atomic_directory(target) as temporary:
        (temporary / "half").touch()
        raise RuntimeError

    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    arrays = {"b": np.arange(3, dtype=np.float32), "a": np.eye(2)}
    write_arrays(arrays, first)
    write_arrays(dict(reversed(arrays.items())), second)

    assert first.read_bytes() == second.read_bytes()
    assert np.array_equal(read_arrays(first)["a"], np.eye(2))


def test_tables_keep_microseconds(tmp_path: Path) -> None:
    table = pa.table({"timestamp": pa.array([1_500_000_000_000_001], TIMESTAMP)})
    write_table(table, tmp_path / "t.parquet")

    assert read_table(tmp_path / "t.parquet").equals(table)


def test_reading_a_table_names_the_column_that_it_lacks(tmp_path: Path) -> None:
    write_table(pa.table({"user_id": ["1"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet lacks the column 'title'"):
        read_table(tmp_path / "t.parquet", ["user_id", "title"])


@pytest.mark.parametrize("read", [read_table, read_arrays, read_json])
def test_reading_names_the_file_when_it_is_missing_or_broken(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    broken = tmp_path / "broken"
    with pytest.raises(DataError, match=r"broken does not exist"):
        read(broken)
    broken.write_bytes(b"\x00PAR1 not really")
    with pytest.raises(DataError, match=r"broken is not"):
        read(broken)
    with pytest.raises(DataError, match=f"{tmp_path.name} is not"):
        read(tmp_path)


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"ndcg": float("nan")}, tmp_path / "metrics.json")
    assert not list(tmp_path.iterdir())

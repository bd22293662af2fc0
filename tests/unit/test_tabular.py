"""``tabular``: what a mapping says of files, and what it answers where it or they are wrong."""

from __future__ import annotations

import bz2
import gzip
import http.server
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import ConfigError, DataError
from pipelines.sources import days_of, load_source, partitions
from pipelines.sources.landing import land
from pipelines.sources.tabular import Tabular, allowed_hosts
from pipelines.sources.tabular.reader import parse_mapping, read_mapping
from tests.processes import answering
from tests.tabular_shop import MAPPING, WEEKS, order_lines, write_shop

GOOD = "1;0;ann;P1;2;3,00;05.01.2024 10:00;paid"


def shop_of(folder: Path, lines: list[str] | None = None, mapping: str = MAPPING) -> Tabular:
    return Tabular(read_mapping(write_shop(folder, lines, mapping)))


def events_of(source: Tabular) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = source.engine.rows("events", "timestamp IS NOT NULL").to_pylist()
    return rows


def small(fields: str = "", feed: str = "", files: str = "data.csv", zone: str = "UTC") -> str:
    """A mapping of one feed of events; ``fields`` and ``feed`` are more lines of it, or replace its own."""
    own = {
        "event_id": "id",
        "user_id": "user",
        "item_id": "item",
        "event_type": "{constant: view}",
        "timestamp": "time",
    }
    own |= dict(line.split(": ", 1) for line in fields.splitlines())
    listed = "".join(f"    {name}: {value}\n" for name, value in own.items())
    more = "".join(f"  {line}\n" for line in feed.splitlines())
    items = "items:\n  files: items.csv\n  fields: {item_id: item}\n"
    return f"time_zone: {zone}\nevents:\n  files: {files}\n{more}  fields:\n{listed}{items}"


def small_shop(folder: Path, data: bytes | str, mapping: str, name: str = "data.csv") -> Tabular:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    (folder / "items.csv").write_text("item\nP1\n")
    (folder / "shop.yaml").write_text(mapping)
    return Tabular(read_mapping(folder / "shop.yaml"))


def test_a_shops_own_files_become_its_tables(tmp_path: Path) -> None:
    source = shop_of(tmp_path, [GOOD, "2;0;bob;P2;-1;-4,50;31.03.2024 03:30;paid", GOOD.replace("paid", "open")])
    first, second = events_of(source)
    assert len(first.pop("event_id")) == 32
    assert json.loads(first.pop("source_row")) == {
        "feed": "0",
        "row": {
            "amount": "3,00",
            "line": "0",
            "order": "1",
            "qty": "2",
            "sku": "P1",
            "status": "paid",
            "when": "05.01.2024 10:00",
        },
    }
    assert first == {
        **dict.fromkeys(("device_id", "query")), "user_id": "ann", "item_id": "P1", "event_type": "purchase",
        "timestamp": datetime(2024, 1, 5, 9, tzinfo=UTC), "quantity": 2.0, "price": 1.5, "session_id": "1",
        "channel": "shop", "unmapped": [],
    }  # fmt: skip
    assert (second["event_type"], second["quantity"], second["price"]) == ("return", 1.0, 4.5)
    assert second["timestamp"] == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)
    item = source.items().to_pylist()[0]
    assert (item["item_id"], item["title"], item["category"]) == ("P0", "Tea number 0", ["Shop", "Drinks"])
    assert (item["brand"], item["attributes"]) == ("Corner", [("package_size", "1 oz")])
    assert source.users().to_pylist()[1]["attributes"] == [("town", "Town 1")]
    assert source.offers().num_rows == source.judgements().num_rows == 0


def test_the_source_is_chosen_with_its_mapping(tmp_path: Path) -> None:
    source = load_source(f"tabular:{write_shop(tmp_path)}")
    assert (source.name, source.time_zone, source.partition) == ("corner", "Europe/Berlin", "week")
    assert len(partitions(source)) == WEEKS
    with pytest.raises(ConfigError, match=r"'tabular' wants a setting\n  -> name its mapping"):
        load_source("tabular")
    with pytest.raises(ConfigError, match="'complete_journey' takes no setting"):
        load_source("complete_journey:shop.yaml")
    with pytest.raises(ConfigError, match=r"none.yaml cannot be read: No such file.*\n  -> shoploom source draft"):
        load_source(f"tabular:{tmp_path / 'none.yaml'}")


@pytest.mark.parametrize(
    ("before", "after", "line", "said"),
    [
        ("user_id: customer", "user_id: custmer", 9, "orders.csv.gz has no column 'custmer'; did you mean 'customer'"),
        ("item_id: sku\n    event", "item_id: kus\n    event", 10, "no column 'kus'; did you mean 'sku'"),
        ("{column: status, ", "{column: state, ", 6, "no column 'state'; did you mean 'status'"),
        ("'%d.%m.%Y %H:%M'", "'%d.%q.%Y'", 16, "'%d.%q.%Y' is no time format: %q is no part of a time"),
        ("'%d.%m.%Y %H:%M'", "'%H:%M'", 16, "'%H:%M' gives no year and no month and no day, so no row gets a time"),
        ("'%d.%m.%Y %H:%M'", "unix_mss", 16, "'unix_mss' is no time format.*did you mean 'unix_ms'"),
        ("quantity: {column: qty,", "quantity: {column: qty, columns: [amount],", 17, "has column and columns: give"),
        ("quantity: {column: qty,", "quantity: {column: [qty, amount],", 17, "two columns for one field"),
        ("    session_id: order\n", "    price: qty\n", 19, "price is given twice, first in line 18"),
        ("session_id: order", "sesion_id: order", 19, "there is no key 'sesion_id'; did you mean 'session_id'"),
        (
            "qty, absolute: true}\n    price",
            "qty, absolut: true}\n    price",
            17,
            "there is no key 'absolut'; did you mean 'absolute'",
        ),
        ("qty, absolute: true}\n    price", "qty, keep_others: true}\n    price", 17, "keep_others goes with values"),
        ("then: return", "then: retrun", 14, "'retrun' is not known; did you mean 'return'"),
        ("below: 0", "below: zero", 13, "'zero' is no number"),
        ("Europe/Berlin", "Europe/Berln", 2, "no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'"),
        ("time_zone: Europe/Berlin\n", "", 1, "time_zone is missing"),
        ("session_id: order", "session_id: customer", 19, "'customer' says who the user is and is hashed; session_id"),
        ("    item_id: sku\n    title", "    title", 24, "item_id is missing"),
        (
            "    event_id: {hash: [order, line]}\n",
            "",
            8,
            "event_id is missing; event_id: {hash: true} makes one of the row",
        ),
        ("files: orders.csv.gz", "files: order.csv.gz", 4, "no file order.csv.gz in"),
        ("user_id: customer", "user_id: {constant: ann}", 9, "a user is told by a column"),
        ("shop: corner", "shop: ../corner", 1, "should be letters, digits"),
        ("shop: corner", "late_days: soon", 1, "late_days: 'soon' is no number of days, 0 to 999"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_one_error_with_its_line_and_the_near_names(
    tmp_path: Path, before: str, after: str, line: int, said: str
) -> None:
    assert MAPPING.count(before) == 1
    with pytest.raises(ConfigError, match=rf"shop\.yaml:{line}: .*{said}") as raised:
        shop_of(tmp_path, [GOOD], MAPPING.replace(before, after)).engine.check_columns()
    assert "\n  -> " in str(raised.value)
    assert raised.value.message.count("shop.yaml:") == 1 or "missing" in said


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    wrong = (
        MAPPING.replace("below: 0", "below: zero")
        .replace("qty, absolute: true}\n    p", "qty, absolut: true}\n    p")
        .replace("shelves", "shelf")
    )
    with pytest.raises(ConfigError) as raised:
        shop_of(tmp_path, [GOOD], wrong)
    assert [part.split(":")[1] for part in raised.value.message.splitlines()] == ["13", "17"]


@pytest.mark.parametrize(
    "text", ["a: [", "- a\n- b\n", "x", "", "a: &x 1\nb: *x\n", "\x00", "a: !!python/name:os.system"]
)
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"shop\.yaml"):
        parse_mapping(text, Path("shop.yaml"))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.bz2", "csv.zst", "tsv", "jsonl", "jsonl.gz", "parquet"])
def test_every_format_and_compression_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    rows = [{"id": f"{n}", "user": f"u{n % 3}", "item": "P1", "time": f"2024-01-0{n + 1}T10:00:00Z"} for n in range(5)]
    kind, _, packed = ending.partition(".")
    if kind == "parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), out)
        data = out.getvalue()
    elif kind == "jsonl":
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    else:
        mark = "," if kind == "csv" else "\t"
        data = "\n".join([mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]).encode()
    packers = {"gz": gzip.compress, "bz2": bz2.compress, "zst": lambda raw: pa.compress(raw, "zstd", asbytes=True)}
    data = packers[packed](data) if packed else data
    source = small_shop(tmp_path, data, small(files=f"data.{ending}"), f"data.{ending}")
    found = [{name: row[name] for name in ("event_id", "user_id", "item_id")} for row in events_of(source)]
    assert found == [{"event_id": row["id"], "user_id": row["user"], "item_id": "P1"} for row in rows]


@pytest.mark.parametrize(
    ("spec", "text", "expected"),
    [
        ("time", "2024-01-05 10:00:00", "2024-01-05T09:00:00+00:00"),
        ("time", "2024-07-05T10:00:00.25", "2024-07-05T08:00:00.250000+00:00"),
        ("time", "2024-01-05T10:00:00-05:00", "2024-01-05T15:00:00+00:00"),
        ("time", "2024-01-05", "2024-01-04T23:00:00+00:00"),
        ("{column: time, zone: America/New_York}", "2024-01-05 10:00:00", "2024-01-05T15:00:00+00:00"),
        ("{column: time, format: unix}", "1704448800.123456", "2024-01-05T10:00:00.123456+00:00"),
        ("{column: time, format: unix_ms}", "1704448800123", "2024-01-05T10:00:00.123000+00:00"),
        ("{column: time, format: '%m/%d/%y %I:%M %p'}", "1/5/24 3:07 PM", "2024-01-05T14:07:00+00:00"),
        ("{column: time, format: '%d %b %Y %H:%M %z'}", "05 Jan 2024 10:00 +0200", "2024-01-05T08:00:00+00:00"),
        ("{column: time, latest: 2024-01-04}", "2024-01-05 10:00:00", None),
        ("time", "yesterday", None),
        ("time", "infinity", None),
        ("time", "0001-01-01", None),
        ("{column: time, format: unix_ms}", "99999999999999999999", None),
        ("{column: time, format: unix_ms}", "2024", None),
    ],
)
def test_times_are_read_by_format_and_zone(tmp_path: Path, spec: str, text: str, expected: str | None) -> None:
    data = f"id,user,item,time\n1,u,P1,{text}\n2,u,P1,\n"
    source = small_shop(tmp_path, data, small(f"timestamp: {spec}", zone="Europe/Berlin"))
    assert [row["timestamp"].isoformat() for row in events_of(source)] == ([expected] if expected else [])
    lost = source.unplaced().to_pylist()
    assert sorted(row["unmapped"] for row in lost) == [[], *([] if expected else [["timestamp"]])]


@pytest.mark.parametrize(
    ("spec", "text", "expected"),
    [
        ("{column: n, decimal: ',', thousands: '.'}", '"1.234,50"', 1234.5),
        ("{column: n, remove: '$ '}", "$ 12.50", 12.5),
        ("{column: n, times: 0.01}", "250", 2.5),
        ("{column: n, absolute: true}", "-3", 3.0),
        ("{column: n, otherwise: 1}", "", 1.0),
        ("{columns: [m, n]}", "4", 4.0),
        ("{column: n, values: {few: 2, many: 9}}", "many", 9.0),
        ("{column: n, values: {few: 2}, keep_others: true}", "few", 2.0),
        ("{column: n, decimal: ',', values: {few: 2}, keep_others: true}", '"7,5"', 7.5),
        ("n", "NULL", None),
    ],
)
def test_numbers_are_read_as_the_mapping_says(tmp_path: Path, spec: str, text: str, expected: float | None) -> None:
    data = f"id,user,item,time,n,m\n1,u,P1,2024-01-05,{text},\n"
    source = small_shop(tmp_path, data, small(f"quantity: {spec}", "null_values: ['', 'NULL']"))
    (row,) = events_of(source)
    assert (row["quantity"], row["unmapped"]) == (expected, [])


def test_what_will_not_map_is_named_and_the_raw_values_are_kept(tmp_path: Path) -> None:
    data = "id,user,item,time,n,kind\n1,u,P1,2024-01-05,two,see\n2,u,P1,2024-01-05,2,buy\n"
    fields = "quantity: n\nevent_type: {column: kind, values: {see: view}}"
    first, second = events_of(small_shop(tmp_path, data, small(fields)))
    assert first["unmapped"] == ["quantity"]
    assert json.loads(first["source_row"])["row"]["n"] == "two"
    assert (second["unmapped"], second["event_type"]) == (["event_type"], None)
    assert "u" not in json.loads(first["source_row"])["row"].values()


def test_feeds_of_several_layouts_fill_one_table(tmp_path: Path) -> None:
    (tmp_path / "looks.jsonl").write_text('{"who": "v", "what": "P1", "at": {"ms": 1704448800123}}\n')
    looks = (
        "  - name: looks\n    files: looks.jsonl\n    fields: {event_id: {hash: true}, user_id: who, item_id: what, "
        "event_type: {constant: view}, timestamp: {column: at.ms, format: unix_ms}}\n"
    )
    buys = (
        "  - name: buys\n    files: data.csv\n    fields: {event_id: id, user_id: user, item_id: item, "
        "event_type: {constant: purchase}, timestamp: time}\n"
    )
    text = f"time_zone: UTC\nevents:\n{looks}{buys}items:\n  files: items.csv\n  fields: {{item_id: item}}\n"
    source = small_shop(tmp_path, "id,user,item,time\n1,u,P1,2024-01-05\n", text)
    assert {row["user_id"]: json.loads(row["source_row"])["feed"] for row in events_of(source)} == {
        "u": "buys",
        "v": "looks",
    }


def test_an_id_made_of_the_row_is_the_rows_own_and_holds_nothing_of_the_user(tmp_path: Path) -> None:
    bob, ann2 = GOOD.replace("ann", "bob"), GOOD.replace("10:00", "11:00")

    def ids(name: str, lines: list[str]) -> dict[tuple[str, datetime], str]:
        rows = events_of(shop_of(tmp_path / name, lines, MAPPING.replace("hash: [order, line]", "hash: true")))
        return {(row["user_id"], row["timestamp"]): row["event_id"] for row in rows}

    one, other = ids("a", [GOOD, ann2, bob]), ids("b", [bob, GOOD, ann2])
    assert one == other
    assert len(set(one.values())) == 3
    renamed = [line.replace("bob", "zoe").replace("ann", "amy") for line in (GOOD, ann2, bob)]
    assert sorted(ids("c", renamed).values()) == sorted(one.values())


def test_one_row_for_each_item_where_every_line_repeats_it(tmp_path: Path) -> None:
    mapping = MAPPING.replace("files: products.jsonl\n", "files: orders.csv.gz\n  delimiter: ;\n  once: true\n")
    mapping = mapping.replace("title: name", "title: sku").replace("    category: shelves\n    brand: info.brand\n", "")
    mapping = mapping.replace("    attributes: {package_size: info.size}\n", "")
    source = shop_of(tmp_path, [GOOD, GOOD.replace("1;0", "2;0"), GOOD.replace("P1", "P2")], mapping)
    assert source.items()["item_id"].to_pylist() == ["P1", "P2"]


def test_damaged_lines_are_told_by_place_and_not_kept_for_they_may_name_a_user(tmp_path: Path) -> None:
    lines = [b"id,user,item,time", b"1,u,P1,2024-01-05", b"2,secr\xe9t,P1,2024-01-05", b"3,secret,P1"]
    data = b"\n".join([*lines, b"4,secret,P1,2024-01-05,9", b"5,u,P1,2024-01-06", b""])
    source = small_shop(tmp_path, data, small())
    assert [row["event_id"] for row in events_of(source)] == ["1", "5"]
    lost = [json.loads(row["source_row"]) for row in source.unplaced().to_pylist()]
    assert {(row["file"], row["line"], row["error"]) for row in lost} == {
        ("data.csv", 3, "invalid encoding"), ("data.csv", 4, "missing columns"), ("data.csv", 5, "too many columns"),
    }  # fmt: skip
    assert "secr" not in str(lost)


def test_lines_that_are_no_json_are_counted(tmp_path: Path) -> None:
    row = '{"id": "1", "user": "u", "item": "P1", "time": "2024-01-05"}\n'
    data = row + "{broken\n[1]\n\n" + row.replace('"1"', '"2"')
    source = small_shop(tmp_path, data, small(files="data.jsonl"), "data.jsonl")
    assert len(events_of(source)) == 2
    assert [json.loads(row["source_row"])["error"] for row in source.unplaced().to_pylist()] == ["no JSON object"] * 2


def test_a_truncated_file_is_refused_by_name_and_nothing_of_it_is_landed(tmp_path: Path) -> None:
    for ending, pack in (("gz", gzip.compress), ("bz2", bz2.compress)):
        data = pack(("id,user,item,time\n" + "".join(f"{n},u{n},P{n},2024-01-05\n" for n in range(5000))).encode())
        name = f"data.csv.{ending}"
        with pytest.raises((DataError, ConfigError), match=name):
            source = small_shop(tmp_path, data[: len(data) // 2], small(files=name), name)
            land(source, None, None, tmp_path / "landing")
    assert not (tmp_path / "landing").exists()


def test_latin_1_files_without_a_first_line_of_names_are_read(tmp_path: Path) -> None:
    feed = "columns: [id, user, item, time]\nencoding: latin-1\ndelimiter: '|'"
    source = small_shop(tmp_path, "1|Andr\xe9|P1|2024-01-05\n".encode("latin-1"), small("", feed))
    assert [row["user_id"] for row in events_of(source)] == ["Andr\xe9"]


def test_formula_characters_and_hostile_names_are_data(tmp_path: Path) -> None:
    name = "na\"me'; DROP TABLE x; --"
    data = 'id,user,"' + name.replace('"', '""') + '",time\n1,u,=HYPERLINK(1),2024-01-05\n'
    yaml_name = "'" + name.replace("'", "''") + "'"
    source = small_shop(
        tmp_path, data, small(f'item_id: {yaml_name}\nchannel: {{column: {yaml_name}, values: {{"=\'a": "b\'c"}}}}')
    )
    (row,) = events_of(source)
    assert (row["item_id"], row["channel"], row["unmapped"]) == ("=HYPERLINK(1)", None, ["channel"])


def test_a_file_of_ten_thousand_columns_is_read(tmp_path: Path) -> None:
    names = [*(f"c{n}" for n in range(10_000)), "id", "user", "item", "time"]
    data = ",".join(names) + "\n" + ",".join([*map(str, range(10_000)), "1", "u", "P1", "2024-01-05"]) + "\n"
    source = small_shop(tmp_path, data, small("quantity: c9999"))
    assert [row["quantity"] for row in events_of(source)] == [9999.0]
    with pytest.raises(ConfigError, match=r"no column 'c99999'; did you mean"):
        small_shop(tmp_path, data, small("quantity: c99999")).engine.check_columns()


def test_a_column_of_two_places_is_refused(tmp_path: Path) -> None:
    source = small_shop(tmp_path, "id,user,item,time,time\n1,u,P1,2024-01-05,2024-01-06\n", small())
    with pytest.raises(ConfigError, match=r"shop\.yaml:\d+: events: data.csv has 2 columns 'time'"):
        source.span()


@pytest.mark.parametrize("data", ["", "\n", "\x00", "id,user,item,time\n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, data: str) -> None:
    with pytest.raises((DataError, ConfigError)):
        small_shop(tmp_path, data, small()).span()


def test_symlinks_folders_and_addresses_that_are_not_allowed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("id,user,item,time\n1,u,P1,2024-01-05\n")
    (tmp_path / "data.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "items.csv").write_text("item\nP1\n")
    for files, said in (
        ("data.csv", "is no plain file"),
        ("https://files.example/data.csv", "https://files.example is not allowed"),
        ("simplecache::https://files.example/data.csv", "is no plain address"),
        ("file:///etc/passwd", "is no plain address"),
        ("https://files.example@evil.example/data.csv", "is no plain address"),
    ):
        (tmp_path / "shop.yaml").write_text(small(files=f"'{files}'"))
        with pytest.raises(ConfigError, match=said):
            Tabular(read_mapping(tmp_path / "shop.yaml"), ("https://evil.example",)).span()


@pytest.fixture
def web() -> Iterator[str]:
    """A server on loopback: ``/data.csv`` is the file, ``/away`` leads to another host, ``/here`` to the file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/data.csv":
                body = b"id,user,item,time\n1,u,P1,2024-01-05\n"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self.send_response(302)
            port = self.server.server_address[1]
            host = "localhost" if self.path.startswith("/away") else "127.0.0.1"
            self.send_header("Location", f"http://{host}:{port}/data.csv")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with answering(Handler) as address:
        yield address


def test_an_allowed_address_is_read_and_a_redirect_to_another_host_is_not_followed(tmp_path: Path, web: str) -> None:
    (tmp_path / "items.csv").write_text("item\nP1\n")
    for path, works in (("data.csv", True), ("here.csv", True), ("away.csv", False)):
        (tmp_path / "shop.yaml").write_text(small(files=f"{web}/{path}"))
        source = Tabular(read_mapping(tmp_path / "shop.yaml"), allowed_hosts(f" {web}/, s3://bucket"))
        if works:
            assert [row["event_id"] for row in events_of(source)] == ["1"]
        else:
            with pytest.raises(DataError, match=r"redirects to http://localhost:.* which is not allowed"):
                source.span()


def test_days_without_events_are_no_partitions(tmp_path: Path) -> None:
    lines = [GOOD, GOOD.replace("05.01", "08.01"), GOOD.replace("05.01", "05.03")]
    source = shop_of(tmp_path, lines, MAPPING.replace("shop: corner\n", "shop: corner\npartition: day\n"))
    assert [partition.name for partition in partitions(source)] == ["2024-01-05", "2024-01-08", "2024-03-05"]


def test_rows_that_were_kept_map_again_to_what_was_landed(tmp_path: Path) -> None:
    source = shop_of(tmp_path, order_lines()[:200])
    for table in ("events", "items", "users"):
        landed = source.engine.rows(table)
        assert source.engine.remap(table, landed).equals(landed)
    richer = MAPPING.replace("channel: {constant: shop}", "channel: town")
    with pytest.raises(DataError, match=r"the rows that were kept lack 'town'.*\n  -> land them again from the files"):
        shop_of(tmp_path, [GOOD], richer).engine.remap("events", source.engine.rows("events"))


def test_a_scheduled_load_lands_again_what_may_still_change(tmp_path: Path) -> None:
    source = shop_of(tmp_path, mapping=f"late_days: 14\n{MAPPING}")
    start, end = (datetime(2024, 1, day, 23, tzinfo=UTC) for day in (14, 21))
    assert days_of(source, start, end, again=False) == (date(2024, 1, 15), date(2024, 1, 21))
    first, last = days_of(source, start, end, again=True)
    assert (first, last) == (date(2024, 1, 1), date(2024, 1, 21))
    assert [partition.name for partition in partitions(source, first, last)] == ["2024-W01", "2024-W02", "2024-W03"]

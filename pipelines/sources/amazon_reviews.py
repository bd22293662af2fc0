"""``amazon_reviews``: Amazon Reviews, the release of 2023: reviews and products as JSON-lines.

``SHOPLOOM_SOURCE=amazon_reviews:FOLDER`` lands a folder that holds ``Beauty.jsonl.gz`` and ``meta_Beauty.jsonl.gz``, of
one category or several, packed or not. A review is an event ``rating`` whose quantity is its stars; a product is known
by its ``parent_asin``.

Source: Hou et al. 2024, "Bridging Language and Items for Retrieval and Recommendation".
"""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import ConfigError
from pipelines.sources.tabular import Tabular, from_mapping

SETTING = "name the folder of the files: export SHOPLOOM_SOURCE=amazon_reviews:FOLDER"

MAPPING = """\
shop: amazon_reviews
time_zone: UTC
events:
  files: [{reviews}]
  format: jsonl
  fields:
    event_id: {{hash: true}}
    user_id: user_id
    item_id: {{columns: [parent_asin, asin]}}
    event_type: {{constant: rating}}
    timestamp: {{column: timestamp, format: unix_ms}}
    quantity: rating
    channel: {{column: verified_purchase, values: {{'true': verified, 'false': unverified}}, otherwise: unverified}}
items:
  files: [{products}]
  format: jsonl
  once: true
  null_values: ['', 'None', '[]', '{{}}']
  fields:
    item_id: parent_asin
    title: title
    description: {{columns: [description], join: ' '}}
    category: {{columns: [categories, main_category]}}
    brand: store
    price: {{column: price, first_number: true, thousands: ','}}
    attributes: details
    image: images.0.large
"""


def source(setting: str) -> Tabular:
    """The source of a folder.

    Args:
        setting: the folder, a path from the repository.

    Raises:
        ConfigError: it holds no reviews, or no products.
    """
    from pipelines.settings import Settings

    folder = Settings().repository / Path(setting).expanduser()
    endings = ("*.jsonl", "*.jsonl.gz", "*.jsonl.zst")
    names = sorted(path.name for ending in endings for path in folder.glob(ending))
    products = [name for name in names if name.startswith("meta_")]
    reviews = [name for name in names if not name.startswith("meta_")]
    if not products or not reviews:
        raise ConfigError(
            f"{folder} lacks {'reviews' if products else 'products'} of Amazon Reviews 2023",
            mend="put CATEGORY.jsonl.gz and meta_CATEGORY.jsonl.gz there",
        )
    text = MAPPING.format(reviews=_quoted(reviews), products=_quoted(products))
    return from_mapping(text, folder / "amazon_reviews.yaml")


def _quoted(names: list[str]) -> str:
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names)

"""``movielens``: the MovieLens data sets, in the file layouts of 100K, 1M and 25M.

``SHOPLOOM_SOURCE=movielens:FOLDER`` lands the folder as it is unpacked; the layout follows from its files. A rating is
an event ``rating`` whose quantity is its stars; a film's genres are its category.

Source: Harper and Konstan 2015, "The MovieLens Datasets: History and Context".
"""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import ConfigError
from pipelines.sources.tabular import Tabular, from_mapping

SETTING = "name the unpacked folder: export SHOPLOOM_SOURCE=movielens:ml-25m"

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The flags of ``u.item``, in its order."""

_RATING = """\
  fields:
    event_id: {hash: true}
    user_id: userId
    item_id: movieId
    event_type: {constant: rating}
    timestamp: {column: timestamp, format: unix}
    quantity: rating
"""
_HEAD = "shop: movielens\ntime_zone: UTC\n"
_FLAGS = ", ".join(f'"{genre}": "{genre}"' for genre in GENRES)

ML_100K = f"""{_HEAD}events:
  files: u.data
  format: tsv
  columns: [userId, movieId, rating, timestamp]
{_RATING}items:
  files: u.item
  format: csv
  delimiter: '|'
  quote: ''
  encoding: latin-1
  columns: [movieId, title, released, video, url, {", ".join(f'"{genre}"' for genre in GENRES)}]
  fields:
    item_id: movieId
    title: title
    category: {{flags: {{{_FLAGS}}}}}
    attributes: {{released: released}}
users:
  files: u.user
  format: csv
  delimiter: '|'
  columns: [userId, age, gender, occupation, zip]
  fields:
    user_id: userId
    attributes: {{age: age, gender: gender, occupation: occupation}}
"""
ML_1M = f"""{_HEAD}events:
  files: ratings.dat
  format: csv
  delimiter: '::'
  quote: ''
  columns: [userId, movieId, rating, timestamp]
{_RATING}items:
  files: movies.dat
  format: csv
  delimiter: '::'
  quote: ''
  encoding: latin-1
  columns: [movieId, title, genres]
  fields:
    item_id: movieId
    title: title
    category: {{column: genres, split: '|'}}
users:
  files: users.dat
  format: csv
  delimiter: '::'
  quote: ''
  columns: [userId, gender, age, occupation, zip]
  fields:
    user_id: userId
    attributes: {{age: age, gender: gender, occupation: occupation}}
"""
ML_25M = f"""{_HEAD}events:
  files: ratings.csv
{_RATING}items:
  files: movies.csv
  null_values: ['', '(no genres listed)']
  fields:
    item_id: movieId
    title: title
    category: {{column: genres, split: '|'}}
"""
LAYOUTS = {"u.data": ML_100K, "ratings.dat": ML_1M, "ratings.csv": ML_25M}


def source(setting: str) -> Tabular:
    """The source of a folder.

    Args:
        setting: the folder, a path from the repository.

    Raises:
        ConfigError: it has none of the layouts.
    """
    from pipelines.settings import Settings

    folder = Settings().repository / Path(setting).expanduser()
    for name, mapping in LAYOUTS.items():
        if (folder / name).is_file():
            return from_mapping(mapping, folder / "movielens.yaml")
    raise ConfigError(
        f"{folder} has none of {', '.join(LAYOUTS)}",
        mend="unpack ml-100k.zip, ml-1m.zip or ml-25m.zip and name its folder",
    )

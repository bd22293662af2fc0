"""What the texts of a column look like: a number, a time and in which format, or just text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%Y%m%d",
)  # fmt: skip
"""Formats that are tried beside ISO's and the epochs; the first that fits all values is proposed."""


def infer(values: Iterable[str | None]) -> str:
    """``empty``, ``integer``, ``number``, ``time``, ``list`` or ``text``: what all values are."""
    given = [value for value in values if value]
    if not given:
        return "empty"
    for name, reads in (("integer", int), ("number", float), ("time", datetime.fromisoformat)):
        if all(_takes(reads, value) for value in given):
            return name
    if all(value.startswith("[") for value in given):
        return "list"
    return "time" if time_format(given) else "text"


def time_format(values: list[str]) -> str | None:
    """The mapping's name of the format that all values have; None where they are no times."""
    if all(value.isdigit() for value in values):
        for name, low, high in (("unix", 10**8, 10**10), ("unix_ms", 10**11, 10**13), ("unix_us", 10**14, 10**16)):
            if all(low <= int(value) < high for value in values):
                return name
    elif all(_takes(datetime.fromisoformat, value) for value in values):
        return "iso"
    for form in TIME_FORMATS:
        if all(_takes(partial(_of_form, form=form), value) for value in values):
            return form
    return None


def _of_form(value: str, form: str) -> datetime:
    return datetime.strptime(value, form)


def _takes(reads: Callable[[str], object], value: str) -> bool:
    try:
        reads(value)
    except (ValueError, OverflowError):
        return False
    return True

"""The shop's own rules over what the model puts forward: leave out, pin, boost, cap, make room for the new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ConfigError, near_names
from pipelines.serving.shelf import CATEGORIES, Shelf

Number = TypeVar("Number", np.float32, np.float64)


@dataclass(frozen=True)
class Rules:
    """What the shop decides. A request's rules are added to those of the file.

    Args:
        exclude: item ids that are never shown.
        exclude_brands: whose items are never shown.
        exclude_categories: of any level, whose items are never shown.
        pin: item ids that come first, in this order, where the answer may hold them at all.
        boost: item ids, brands or categories, and what their score is multiplied by; > 0.
        out_of_stock: item ids that cannot be bought now.
        offer_boost: what the score of items is multiplied by that the shopper holds an offer for; > 0.
        in_stock: leave out what cannot be bought.
        per_brand: most items of one brand in an answer; None for no cap.
        per_category: most items of one product type in an answer; None for no cap.
        min_new_share: least share of an answer for items that hardly anybody bought yet, within 0..1.
    """

    exclude: tuple[str, ...] = ()
    exclude_brands: tuple[str, ...] = ()
    exclude_categories: tuple[str, ...] = ()
    pin: tuple[str, ...] = ()
    boost: Mapping[str, float] = field(default_factory=dict)
    offer_boost: float = 1.0
    out_of_stock: tuple[str, ...] = ()
    in_stock: bool = True
    per_brand: int | None = None
    per_category: int | None = None
    min_new_share: float = 0.0

    def with_request(self, other: Rules) -> Rules:
        """These rules and a request's: lists are joined, the tighter cap and the larger share hold."""
        lists = ("exclude", "exclude_brands", "exclude_categories", "pin", "out_of_stock")
        changed: dict[str, Any] = {name: (*getattr(self, name), *getattr(other, name)) for name in lists}
        for name in ("per_brand", "per_category"):
            caps = [cap for cap in (getattr(self, name), getattr(other, name)) if cap is not None]
            changed[name] = min(caps, default=None)
        changed["boost"] = {**self.boost, **other.boost}
        changed["offer_boost"] = self.offer_boost * other.offer_boost
        changed["in_stock"] = self.in_stock and other.in_stock
        changed["min_new_share"] = max(self.min_new_share, other.min_new_share)
        return replace(self, **changed)

    @classmethod
    def read(cls, path: Path) -> Rules:
        """Read a YAML file with these names.

        Raises:
            ConfigError: it is missing or no YAML, or a name or a value is wrong; the message says which.
        """
        import yaml

        try:
            told = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path} cannot be read: {error}", mend="see pipelines/serving/README.md") from None
        return cls.of(told, str(path))

    @classmethod
    def of(cls, told: object, where: str) -> Rules:
        """Rules from plain values.

        Raises:
            ConfigError: as :meth:`read`.
        """
        if not isinstance(told, dict):
            raise ConfigError(f"{where} holds no rules by name", mend="see pipelines/serving/README.md")
        kinds = {each.name: each.default for each in fields(cls)}
        for name, value in told.items():
            if name not in kinds:
                mend = near_names(str(name), kinds) or f"rules are {', '.join(kinds)}"
                raise ConfigError(f"{where}: there is no rule {name!r}", mend=mend)
            if not _fits(name, value):
                raise ConfigError(f"{where}: {name} may not be {value!r}", mend="see pipelines/serving/README.md")
        lists = {name: tuple(map(str, value)) for name, value in told.items() if isinstance(value, list)}
        return cls(**{**told, **lists})


NO_RULES = Rules()


def _fits(name: str, value: object) -> bool:
    if name == "boost":
        return isinstance(value, dict) and all(
            isinstance(factor, int | float) and factor > 0 for factor in value.values()
        )
    if name == "offer_boost":
        return isinstance(value, int | float) and 0 < value <= 1000
    if name == "in_stock":
        return isinstance(value, bool)
    if name in ("per_brand", "per_category"):
        return value is None or (isinstance(value, int) and value >= 1)
    if name == "min_new_share":
        return isinstance(value, int | float) and 0 <= value <= 1
    return isinstance(value, list)


class Placed(NamedTuple):
    """An item in an answer.

    Args:
        item: dense id.
        score: after boosts.
        rule: the rule that put it where it is; empty where the model did.
    """

    item: int
    score: float
    rule: str = ""


class Bound:
    """Rules in a package's item space.

    Args:
        rules: of the shop, the request's added.
        shelf: of the package.
        rows: dense id of every item id.
        sold_out: dense ids of what cannot be bought, beside what the rules name.
    """

    def __init__(
        self, rules: Rules, shelf: Shelf, rows: Mapping[str, int], sold_out: frozenset[int] = frozenset()
    ) -> None:
        self.rules = rules
        self._shelf = shelf
        self._sold_out = sold_out if rules.in_stock else frozenset()
        gone = [*rules.exclude, *(rules.out_of_stock if rules.in_stock else ())]
        self._hidden = {rows[name] for name in gone if name in rows}
        named = {"brand": rules.exclude_brands, **dict.fromkeys(CATEGORIES, rules.exclude_categories)}
        self._hidden_codes = [
            (shelf.groups[group].codes, codes)
            for group, names in named.items()
            if (codes := shelf.groups[group].of(names))
        ]
        self.pins = tuple(rows[name] for name in dict.fromkeys(rules.pin) if name in rows)
        self._boosts = [(rows.get(name, -1), name, factor) for name, factor in rules.boost.items()]

    @cached_property
    def shown(self) -> NDArray[np.bool_] | None:
        """bool [num_items], what may be shown at all; None where that is everything."""
        gone = self._hidden | self._sold_out
        if not gone and not self._hidden_codes:
            return None
        shown = np.ones(self._shelf.num_items, bool)
        for codes, hidden in self._hidden_codes:
            shown &= ~np.isin(codes, list(hidden))
        shown[list(gone)] = False
        return shown

    def shows(self, item: int) -> bool:
        """Whether an item may be shown at all."""
        if item in self._hidden or item in self._sold_out:
            return False
        return not self._hidden_codes or not any(int(codes[item]) in hidden for codes, hidden in self._hidden_codes)

    def boosted(
        self, items: NDArray[np.int32], scores: NDArray[Number], offers: Mapping[int, str]
    ) -> tuple[NDArray[Number], dict[int, str]]:
        """float [num_items], the scores after boosts; and which boost or offer moved each item that one did.

        A score below 0, of an item that the model does not put forward, is divided in place of being multiplied.

        Args:
            items: int32 [num_items], dense ids.
            scores: float [num_items].
            offers: what the shopper holds an offer for: dense id to offer id.
        """
        lifted = offers if self.rules.offer_boost != 1 else {}
        if not self._boosts and not lifted:
            return scores, {}
        moved: dict[int, str] = {}
        changed = scores.copy()

        def lift(hit: NDArray[np.bool_], factor: float) -> None:
            changed[hit] *= np.where(changed[hit] < 0, 1 / factor, factor).astype(scores.dtype)

        for row, name, factor in self._boosts:
            hit = self._shelf.groups["brand"].mask([name], items) | self._shelf.in_category([name], items)
            hit |= items == row
            lift(hit, factor)
            moved.update(dict.fromkeys(items[hit].tolist(), f"boost {name}"))
        if lifted:
            lift(np.isin(items, list(lifted)), self.rules.offer_boost)
            moved.update({item: f"offer {offer}" for item, offer in lifted.items()})
        return changed, moved

    def place(
        self,
        ranked: Iterable[Placed],
        new: Iterable[Placed],
        count: int,
        may_pin: Callable[[int], bool] = lambda _: True,
    ) -> list[Placed]:
        """Fill ``count`` places: pins first, then the ranked in order under the caps, with room kept for the new.

        Args:
            ranked: best first, more than enough.
            new: items that hardly anybody bought yet, best first; read only where a share is asked for.
            count: places.
            may_pin: whether a pinned item, by its dense id, has a place in this answer.
        """
        caps = [
            (name, cap)
            for name, cap in (("brand", self.rules.per_brand), ("product_type", self.rules.per_category))
            if cap
        ]
        counts: Counter[tuple[str, int]] = Counter()
        taken: dict[int, Placed] = {}

        def take(placed: Placed) -> bool:
            if placed.item in taken or not self.shows(placed.item):
                return False
            if caps:
                keys = [(name, int(self._shelf.groups[name].codes[placed.item]), cap) for name, cap in caps]
                if any(code >= 0 and counts[name, code] >= cap for name, code, cap in keys):
                    return False
                counts.update((name, code) for name, code, _ in keys)
            taken[placed.item] = placed
            return True

        for item in filter(may_pin, self.pins):
            if len(taken) < count:
                take(Placed(item, 1.0, "pinned"))
        room = int(np.ceil(self.rules.min_new_share * count - 1e-9))
        reserved: list[Placed] = []
        if room:
            for placed in new:
                if len(reserved) == room:
                    break
                if len(taken) < count and take(placed):
                    reserved.append(placed)
        for placed in ranked:
            if len(taken) >= count:
                break
            take(placed)
        return _spread(list(taken.values()), {placed.item for placed in reserved}, count)


def _spread(placed: list[Placed], reserved: set[int], count: int) -> list[Placed]:
    """Put reserved items evenly among the others, which keep their order."""
    if not reserved:
        return placed
    others = [each for each in placed if each.item not in reserved]
    new = [each for each in placed if each.item in reserved]
    step = max(1, count // len(new))
    for number, each in enumerate(new, start=1):
        others.insert(min(number * step - 1, len(others)), each)
    return others

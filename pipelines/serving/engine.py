"""The engine: one package behind the questions of the HTTP routes, immutable but for what is sold out.

What does not depend on the request is made once: a known user's shortlist is scored when it is first asked for, or
before, in the background (:meth:`Engine.warm`); an item's neighbours when they are first asked for. A request folds in
what the shopper did since, adds what the session says, and applies the shop's rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.models.catalogue import Catalogue
from pipelines.models.contributions import Contribution
from pipelines.models.intent_templates import INTENTS
from pipelines.models.manifest import ENCODER_FOLDER
from pipelines.models.mixed_blend import MixedBlend
from pipelines.models.recommender import Recommender
from pipelines.models.tree_blend import TreeBlend
from pipelines.pseudonyms import KeyRing
from pipelines.serving.affinity import ALIKE, TOGETHER, Affinity
from pipelines.serving.answers import Answer, Asked, Provenance, Result
from pipelines.serving.around import Around
from pipelines.serving.hits import find
from pipelines.serving.households import Household, unlike
from pipelines.serving.kept import Kept
from pipelines.serving.neighbours import Neighbours
from pipelines.serving.preparing import Prepared, Preparing
from pipelines.serving.query_encoder import QueryEncoder
from pipelines.serving.recommending import near, recommend
from pipelines.serving.rules import NO_RULES, Bound, Placed, Rules
from pipelines.serving.searching import KEPT_QUERIES, Found, Matching, Query
from pipelines.serving.shelf import CATEGORIES, Shelf
from pipelines.serving.shopper import Shopper
from pipelines.serving.standing import Standing
from pipelines.serving.understanding.vocabulary import Vocabulary
from pipelines.serving.why import contributions_of

Facts = tuple[str, str, str | None, tuple[str, ...], float | None]
"""An item's id, title, brand, category and price."""
KEPT_ITEMS = 20_000


class Engine:
    """Answers from a package. Made by :meth:`load`.

    Args:
        recommender: the package's parts.
        provenance: which version this is.
        rules: the shop's own, under every request's.
        accounts: row of every user that the model knows, by pseudonym.
    """

    def __init__(
        self, recommender: Recommender, provenance: Provenance, rules: Rules, accounts: Mapping[str, int]
    ) -> None:
        self.recommender = recommender
        self.provenance = provenance
        self.rules = rules
        self.accounts = accounts
        self.catalogue: Catalogue = recommender.catalogue
        self.shelf = Shelf(self.catalogue)
        self._sold_out: tuple[frozenset[str], frozenset[int]] = frozenset(), frozenset()
        self._own_rules = self._bound(rules)
        self.matching = Matching(recommender)
        around = None if recommender.near_items is None else Around(recommender, recommender.near_items)
        self.neighbours = Neighbours(recommender.ranker.signals, self.catalogue.histories, around)
        self._preparing = Preparing(recommender, self.neighbours)
        self._intents: Kept[str, dict[str, float]] = Kept(KEPT_QUERIES)
        self._told: Kept[int, Facts] = Kept(KEPT_ITEMS)
        fallback = recommender.ranker.signals.popularity.ties[recommender.candidates] - np.float32(1)
        order = np.lexsort((recommender.candidates, -fallback))
        self.rest = Standing(recommender.candidates[order], fallback[order])
        """Every candidate as it ranks outside a shortlist."""

    @classmethod
    def load(
        cls,
        package_dir: Path,
        provenance: Provenance | None = None,
        rules: Rules | None = None,
        ring: KeyRing | None = None,
    ) -> Self:
        """Read a package after checking every file against its manifest.

        Args:
            package_dir: the package.
            provenance: which version it is; unnamed by default.
            rules: the shop's own; none by default.
            ring: what users are known by now; as the package knows them by default.

        Raises:
            ConfigError: the ring lacks the key that the package knows users by.
            ModelError: a file is missing, changed, not listed, or of another format version.
        """
        recommender = Recommender.load(package_dir)
        if isinstance(recommender.ranker.blend, TreeBlend | MixedBlend):
            recommender.ranker.blend.threads = 1
        recommender.finder.encoder = QueryEncoder.load(package_dir / ENCODER_FOLDER)
        catalogue = recommender.catalogue
        later = ring.after(catalogue.user_key) if ring else KeyRing(())
        accounts = {later.pseudonym(name): row for row, name in enumerate(catalogue.user_ids)}
        return cls(recommender, provenance or Provenance(), rules or Rules(), accounts)

    def user_row(self, account: str) -> int | None:
        """The row of a user by the pseudonym under the newest key; None where the model does not know the user."""
        return self.accounts.get(account)

    def item_row(self, item_id: str) -> int | None:
        """The dense id of an item; None where it is not in the catalogue."""
        return self.catalogue.item_rows.get(item_id)

    def instant(self, shopper: Shopper, about: Iterable[int] = ()) -> bool:
        """Whether this shopper can be answered, about these items, without scoring anything anew."""
        items = (*shopper.interests, *about)
        return self._preparing.holds(shopper) and all(self.neighbours.holds(item) for item in items)

    def prepare(self, shopper: Shopper) -> Prepared:
        """What is worth ranking for a shopper, scored; kept until what they bought changes."""
        return self._preparing.of(shopper)

    def warm(self, going_on: Callable[[], bool]) -> int:
        """Compile what not every query needs, then score known users ahead until all are or ``going_on`` says no;
        returns how many are."""
        if (index := self.recommender.finder.multilingual) is not None and going_on():
            index.similarity("warm up")
        return self._preparing.warm(going_on)

    def affinity(self, about: Mapping[int, float], chosen: Collection[int] = ()) -> Affinity:
        """What goes with items; see :meth:`pipelines.serving.affinity.Affinity.of`."""
        return Affinity.of(about, self.neighbours, self.catalogue.titles, chosen)

    def recommend(self, shopper: Shopper, asked: Asked) -> Answer:
        """Items for a placement; see :func:`pipelines.serving.recommending.recommend`."""
        return recommend(self, shopper, asked)

    def similar(self, item: int, shopper: Shopper, asked: Asked) -> Answer:
        """Items like one."""
        return near(self, self.neighbours.similar(item), ALIKE.format(self.catalogue.titles[item]), shopper, asked)

    def bought_together(self, item: int, shopper: Shopper, asked: Asked) -> Answer:
        """Items bought in one basket with one."""
        found = self.neighbours.together(item)
        return near(self, found, TOGETHER.format(self.catalogue.titles[item]), shopper, asked)

    def search(self, query: Query, shopper: Shopper | None = None) -> Found:
        """What answers a query, moved by a shopper's taste; by nobody's where it is None.

        Raises:
            ModelError: the query is blank.
        """
        return find(self, query, shopper)

    def intents(self, text: str) -> dict[str, float]:
        """Probability of each intent; empty where the package holds no intent head, or the text is blank."""
        head, text = self.recommender.finder.intent, " ".join(text.lower().split())
        if head is None or not text:
            return {}
        kept = self._intents.get(text)
        if kept is None:
            vectors = head.encoder.encode_queries([text])
            kept = dict(zip(INTENTS, map(float, head.probabilities(vectors)[0]), strict=True))
            self._intents.put(text, kept)
        return kept

    @cached_property
    def households(self) -> list[Household]:
        """A few households that the model knows, unlike each other."""
        return unlike(self.catalogue.histories, self.shelf.groups["product_type"], self.accounts)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The catalogue's words, by which texts are understood."""
        return Vocabulary.of(self.catalogue, self.recommender.finder.encoder.knows)

    def bound(self, rules: Rules) -> Bound:
        """A request's rules over the shop's own."""
        if rules == NO_RULES:
            return self._own_rules
        return self._bound(self.rules.with_request(rules))

    def sold_out(self, names: frozenset[str]) -> None:
        """From now on leave out these items, unless rules say otherwise.

        Args:
            names: item ids; those that the catalogue lacks do not matter.
        """
        if names is not self._sold_out[0]:
            rows = frozenset(row for name in names if (row := self.item_row(name)) is not None)
            self._sold_out = names, rows
            self._own_rules = self._bound(self.rules)

    def _bound(self, rules: Rules) -> Bound:
        return Bound(rules, self.shelf, self.catalogue.item_rows, self._sold_out[1])

    @property
    def popular(self) -> NDArray[np.int32]:
        """int32 [num_candidates]: the items that may be recommended, the most bought first."""
        return self.rest.items

    @cached_property
    def history_days(self) -> float:
        """Over how many days the model knows purchases."""
        return float(self.catalogue.histories.ages.max(initial=1.0))

    @cached_property
    def cold(self) -> NDArray[np.int32]:
        """int32, ascending: items with too few buyers to be candidates."""
        few = self.recommender.buyers < self.recommender.ranker.min_buyers
        return np.flatnonzero(few).astype(np.int32)

    def because(self, shopper: Shopper, items: Sequence[int]) -> list[tuple[str, ...]]:
        """What of a shopper's visit and history speaks for each item, in words."""
        return self.reasons(self.prepare(shopper), self.affinity(shopper.interests), items)

    def contributions(self, shopper: Shopper, items: Sequence[int]) -> dict[int, tuple[Contribution, ...]]:
        """What the ranking's features added to items of a shopper's shortlist; the others are left out."""
        prepared = self.prepare(shopper)
        return contributions_of(self.recommender.ranker, prepared.history, prepared.standing, items)

    def reasons(self, prepared: Prepared, affinity: Affinity, items: Sequence[int]) -> list[tuple[str, ...]]:
        """Why each item, in words: what it goes with in this visit, then what of the history speaks for it."""
        told = self._preparing.told(prepared, items)
        return [(affinity.because[item], *told[item]) if item in affinity.because else told[item] for item in items]

    def result(
        self, placed: Placed, reasons: tuple[str, ...], features: dict[str, float], offer: str | None = None
    ) -> Result:
        """What is told of an item; see :class:`Result`."""
        item_id, title, brand, category, price = self._facts(placed.item)
        score, rule = round(placed.score, 6), placed.rule or None
        return Result(item_id, title, score, brand, category, price, reasons, rule, offer, features=features)

    def _facts(self, item: int) -> Facts:
        """What the catalogue says of an item; kept, because some items are shown again and again."""
        facts = self._told.get(item)
        if facts is None:
            shelf = self.shelf
            category = tuple(value for name in CATEGORIES if (value := shelf.value(name, item)))
            item_id, title = str(self.catalogue.item_ids[item]), self.catalogue.titles[item]
            facts = item_id, title, shelf.value("brand", item), category, shelf.price(item)
            self._told.put(item, facts)
        return facts

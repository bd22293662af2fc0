"""The engine: one package behind the questions of the HTTP routes, immutable once loaded.

What does not depend on the request is made once: a known user's shortlist is scored when it is first asked for, or
before, in the background (:meth:`Engine.warm`); an item's neighbours when they are first asked for. A request folds in
what the shopper did since, adds what the session says, and applies the shop's rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.blend import TreeBlend
from pipelines.models.catalogue import Catalogue
from pipelines.models.contributions import Contribution
from pipelines.models.diversity import debiased, diversified
from pipelines.models.intent_templates import INTENTS
from pipelines.models.manifest import ENCODER_FOLDER
from pipelines.models.popularity import tie_breaker
from pipelines.models.reasons import explain
from pipelines.models.recommender import POOL, Recommender
from pipelines.models.text import TextSimilarity
from pipelines.pseudonyms import KeyRing
from pipelines.serving.answers import Answer, Asked, Provenance, Result
from pipelines.serving.hits import find
from pipelines.serving.households import Household, unlike
from pipelines.serving.kept import Kept
from pipelines.serving.neighbours import Near, Neighbours
from pipelines.serving.query_encoder import QueryEncoder
from pipelines.serving.rules import Bound, Placed, Rules
from pipelines.serving.searching import KEPT_QUERIES, Found, Matching, Query
from pipelines.serving.shelf import Shelf
from pipelines.serving.shopper import Shopper
from pipelines.serving.standing import Standing, rescored, standings
from pipelines.serving.understanding.vocabulary import Vocabulary
from pipelines.serving.why import contributions_of

KEPT_SHOPPERS = 50_000
USERS_AT_ONCE = 8
"""Users scored at once in the background: more would hold requests up."""
SESSION_WEIGHT = np.float32(0.5)
"""What an item gains that goes perfectly with what the session is about, beside a chance of 0..1."""
JUST_BOUGHT_DAYS = 1.0
"""What was bought less than this ago is not recommended."""
ALIKE, TOGETHER = "like {}", "bought with {}"


@dataclass(frozen=True)
class Prepared:
    """What is kept of a shopper.

    Args:
        history: purchases up to now.
        standing: among the items worth ranking.
        reasons: words that were found for items, by dense id.
        taste: the profile of the purchases, once it was asked for.
    """

    history: Histories
    standing: Standing
    reasons: dict[int, tuple[str, ...]] = field(default_factory=dict)
    taste: list[NDArray[np.float32]] = field(default_factory=list)

    def profile(self, texts: TextSimilarity) -> NDArray[np.float32]:
        """float32 [embedding_size]: what the shopper's purchases are about, found when it is first asked for."""
        if not self.taste:
            self.taste.append(texts.profiles(self.history)[0])
        return self.taste[0]


@dataclass(frozen=True)
class Affinity:
    """What goes with the session.

    Args:
        items: int32 [num_items], ascending.
        strength: float32 [num_items], within 0..1.
        because: the reason for each item, by dense id.
    """

    items: NDArray[np.int32]
    strength: NDArray[np.float32]
    because: dict[int, str]


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
        self.neighbours = Neighbours(recommender.ranker.signals, self.catalogue.histories)
        self._kept: Kept[tuple[object, ...], Prepared] = Kept(KEPT_SHOPPERS)
        self._intents: Kept[str, dict[str, float]] = Kept(KEPT_QUERIES)
        fallback = tie_breaker(recommender.buyers)[recommender.candidates] - np.float32(1)
        order = np.lexsort((recommender.candidates, -fallback))
        self._rest = Standing(recommender.candidates[order], fallback[order])
        """Every candidate as it ranks outside a shortlist."""
        self._nobody = Histories.nobody(self.catalogue.num_items)

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
        if isinstance(recommender.ranker.blend, TreeBlend):
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
        return _key(shopper) in self._kept and all(self.neighbours.holds(item) for item in items)

    def prepare(self, shopper: Shopper) -> Prepared:
        """Score what is worth ranking for a shopper; kept until what they bought changes."""
        kept = self._kept.get(_key(shopper))
        if kept is not None:
            return kept
        user, ranker = shopper.user, self.recommender.ranker
        before = self._nobody if user is None else self.catalogue.histories.take(user, user + 1)
        if shopper.purchases:
            plain = self.prepare(Shopper(user))
            bought = np.array([deed.item for deed in shopper.purchases], np.int32)
            near = [self.neighbours.together(int(item)).items for item in np.unique(bought)]
            items = np.unique(np.concatenate([plain.standing.items, bought, *near])).astype(np.int32)
            history = shopper.history(before)
            candidates = items[np.isin(items, self.recommender.candidates)]
            prepared = Prepared(history, rescored(ranker, history, candidates))
        else:
            (standing,) = standings(ranker, before, self.recommender.candidates)
            prepared = Prepared(before, standing)
        self._kept.put(_key(shopper), prepared)
        return prepared

    def warm(self, going_on: Callable[[], bool], most: int = KEPT_SHOPPERS // 2) -> int:
        """Score known users ahead, a few at a time, until all are or ``going_on`` says no; returns how many are."""
        histories, done = self.catalogue.histories, 0
        self.prepare(Shopper())
        for start in range(0, min(histories.num_users, most), USERS_AT_ONCE):
            if not going_on():
                break
            chunk = histories.take(start, min(start + USERS_AT_ONCE, histories.num_users))
            for user, standing in enumerate(
                standings(self.recommender.ranker, chunk, self.recommender.candidates), start=start
            ):
                history = histories.take(user, user + 1)
                self._kept.put(_key(Shopper(user)), Prepared(history, standing))
                done += 1
        return done

    def recommend(self, shopper: Shopper, asked: Asked) -> Answer:
        """Items for a placement.

        Args:
            shopper: whom for.
            asked: what for, and how many.
        """
        prepared = self.prepare(shopper)
        about = dict(shopper.interests)
        if asked.placement == "product":
            about |= dict.fromkeys(asked.items, 1.0)
        affinity = self.affinity(about)
        ranked = self._arranged(self._ranked(prepared, affinity), asked.count)
        return self._answer(shopper, prepared, affinity, asked, ranked)

    def similar(self, item: int, shopper: Shopper, asked: Asked) -> Answer:
        """Items like one."""
        return self._near(self.neighbours.similar(item), ALIKE.format(self.catalogue.titles[item]), shopper, asked)

    def bought_together(self, item: int, shopper: Shopper, asked: Asked) -> Answer:
        """Items bought in one basket with one."""
        near = self.neighbours.together(item)
        return self._near(near, TOGETHER.format(self.catalogue.titles[item]), shopper, asked)

    def search(self, query: Query, shopper: Shopper | None = None) -> Found:
        """What answers a query, moved by a shopper's taste; by nobody's where it is None.

        Raises:
            ModelError: the query is blank.
        """
        return find(self, query, shopper)

    def intents(self, text: str) -> dict[str, float]:
        """Probability of each intent; empty where the package holds no intent head, or the text is blank."""
        head = self.recommender.finder.intent
        if head is None or not text.strip():
            return {}
        kept = self._intents.get(text)
        if kept is None:
            vectors = head.encoder.encode_queries([" ".join(text.lower().split())])
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

    def affinity(self, about: dict[int, float]) -> Affinity:
        """What goes with items, by how much each of them matters (dense id to weight within 0..1)."""
        best: dict[int, tuple[float, str]] = {}
        for item, weight in about.items():
            title = self.catalogue.titles[item]
            for near, words in ((self.neighbours.together(item), TOGETHER), (self.neighbours.similar(item), ALIKE)):
                top = float(near.strength[0]) if len(near.strength) else 1.0
                for other, strength in zip(near.items.tolist(), near.strength.tolist(), strict=True):
                    worth = weight * strength / top
                    if worth > best.get(other, (0.0, ""))[0]:
                        best[other] = worth, words.format(title)
        items = np.array(sorted(best), np.int32)
        strength = np.array([best[item][0] for item in items.tolist()], np.float32)
        return Affinity(items, strength, {item: because for item, (_, because) in best.items()})

    def _ranked(self, prepared: Prepared, affinity: Affinity) -> Standing:
        """The shortlist and what goes with the session, in order."""
        standing = prepared.standing
        if not len(affinity.items):
            return standing
        items = np.union1d(standing.items, affinity.items).astype(np.int32)
        scores = standing.scores_of(items, np.zeros(len(items), np.float32))
        place = np.searchsorted(items, affinity.items)
        scores[place] += SESSION_WEIGHT * affinity.strength
        return Standing.of(items, scores)

    def _arranged(self, ranked: Standing, count: int) -> Standing:
        """As the package has it: less of what everybody buys, less of the same (:mod:`pipelines.models.diversity`)."""
        facts, model = self.recommender.facts, self.recommender
        if facts.popularity_debias:
            scores = debiased(ranked.scores, model.buyers[ranked.items], facts.popularity_debias)
            ranked = Standing.of(ranked.items, scores)
        if not facts.diversity:
            return ranked
        pool = int(np.count_nonzero(ranked.scores[: POOL * count] > 0))
        vectors = model.finder.embeddings[model.finder.text_index[ranked.items[:pool]]]
        order = diversified(ranked.scores[:pool], vectors, pool, facts.diversity)
        order = np.concatenate([order, np.arange(pool, len(ranked.items))])
        return Standing(ranked.items[order], ranked.scores[order])

    def _near(self, near: Near, because: str, shopper: Shopper, asked: Asked) -> Answer:
        """Neighbours of an item, those first that the shopper would rather buy among equally near ones."""
        prepared = self.prepare(shopper)
        chance = prepared.standing.scores_of(near.items, np.zeros(len(near.items), np.float32))
        reasons = dict.fromkeys(near.items.tolist(), because)
        affinity = Affinity(near.items, near.strength, reasons)
        ranked = Standing.of(near.items, near.strength + np.float32(0.1) * chance)
        return self._answer(shopper, prepared, affinity, asked, ranked, rest=False)

    def _answer(
        self,
        shopper: Shopper,
        prepared: Prepared,
        affinity: Affinity,
        asked: Asked,
        ranked: Standing,
        rest: bool = True,
    ) -> Answer:
        bound = self.bound(asked.rules)
        hidden = self._hidden(shopper, prepared, asked)
        scores, moved = bound.boosted(ranked.items, ranked.scores, shopper.offers)
        if moved:
            ranked = Standing.of(ranked.items, scores)
        within = self._within(asked)

        def stream() -> Iterator[Placed]:
            for standing in (ranked, self._rest) if rest else (ranked,):
                for item, score in zip(standing.items.tolist(), standing.scores.tolist(), strict=True):
                    if item not in hidden and (within is None or within[item]):
                        yield Placed(item, score, moved.get(item, ""))

        new = self._new(prepared, hidden) if bound.rules.min_new_share else ()
        placed = bound.place(stream(), new, asked.count)
        reasons = self._reasons(prepared, affinity, [each.item for each in placed])
        known = self._features(prepared, affinity, [each.item for each in placed])
        results = [
            replace(self.result(each, why), features=features, offer=shopper.offers.get(each.item))
            for each, why, features in zip(placed, reasons, known, strict=True)
        ]
        if asked.explain:
            parts = self.contributions(shopper, [each.item for each in placed])
            results = [
                replace(result, contributions=parts.get(each.item, ()))
                for result, each in zip(results, placed, strict=True)
            ]
        return Answer(results, self._based_on(shopper, asked), self.provenance)

    def _features(self, prepared: Prepared, affinity: Affinity, items: Sequence[int]) -> list[dict[str, float]]:
        """What put items into an answer: the ranking's chance, 0 off the shortlist, and what goes with the visit."""
        rows = np.array(items, np.int32)
        chances = prepared.standing.scores_of(rows, np.zeros(len(rows), np.float32)).tolist()
        strength = dict(zip(affinity.items.tolist(), affinity.strength.tolist(), strict=True))
        return [
            {"chance": chance, "visit": strength.get(item, 0.0)} for item, chance in zip(items, chances, strict=True)
        ]

    def _based_on(self, shopper: Shopper, asked: Asked) -> str:
        parts = [
            name
            for name, there in (
                ("history", shopper.known),
                ("session", bool(shopper.interests)),
                ("context", bool(asked.categories or asked.brands)),
            )
            if there
        ]
        return "+".join(parts) or "popularity"

    def _hidden(self, shopper: Shopper, prepared: Prepared, asked: Asked) -> set[int]:
        """Items that this answer may not hold: disliked, in the cart, asked about, just bought."""
        hidden = {*shopper.disliked, *shopper.cart, *asked.items}
        hidden.update(deed.item for deed in shopper.purchases if deed.age_days < JUST_BOUGHT_DAYS)
        if asked.new_only:
            hidden.update(prepared.history.items.tolist())
        return hidden

    def _within(self, asked: Asked) -> NDArray[np.bool_] | None:
        """bool [num_items], items of the context; None where there is none."""
        if not (asked.categories or asked.brands):
            return None
        mask = np.ones(self.catalogue.num_items, bool)
        if asked.categories:
            mask &= self.shelf.in_category(asked.categories)
        if asked.brands:
            mask &= self.shelf.groups["brand"].mask(asked.brands)
        return mask

    def bound(self, rules: Rules) -> Bound:
        """A request's rules over the shop's own."""
        if rules == Rules():
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
        return self._rest.items

    @cached_property
    def history_days(self) -> float:
        """Over how many days the model knows purchases."""
        return float(self.catalogue.histories.ages.max(initial=1.0))

    @cached_property
    def _cold(self) -> NDArray[np.int32]:
        """int32, ascending: items with too few buyers to be candidates."""
        few = self.recommender.buyers < self.recommender.ranker.min_buyers
        return np.flatnonzero(few).astype(np.int32)

    def _new(self, prepared: Prepared, hidden: set[int]) -> Iterator[Placed]:
        """Items that hardly anybody bought yet, best first for this shopper, by what is known of them."""
        signals = self.recommender.ranker.signals
        model = signals.chosen.get("cold_start", signals.texts)
        scores = model.score(prepared.history, self._cold)[0]
        for row in np.lexsort((self._cold, -scores))[: 10 * len(hidden) + 1000].tolist():
            if int(self._cold[row]) not in hidden:
                yield Placed(int(self._cold[row]), float(scores[row]), "new")

    def because(self, shopper: Shopper, items: Sequence[int]) -> list[tuple[str, ...]]:
        """What of a shopper's visit and history speaks for each item, in words."""
        return self._reasons(self.prepare(shopper), self.affinity(shopper.interests), items)

    def contributions(self, shopper: Shopper, items: Sequence[int]) -> dict[int, tuple[Contribution, ...]]:
        """What the ranking's features added to items of a shopper's shortlist; the others are left out."""
        prepared = self.prepare(shopper)
        return contributions_of(self.recommender.ranker, prepared.history, prepared.standing, items)

    def _reasons(self, prepared: Prepared, affinity: Affinity, items: Sequence[int]) -> list[tuple[str, ...]]:
        missing = [item for item in items if item not in prepared.reasons]
        if missing:
            rows = np.array(missing, np.int32)
            found = explain(self.recommender.ranker.signals, self.catalogue.titles, prepared.history, rows)
            prepared.reasons.update(zip(missing, found, strict=True))
        return [
            (affinity.because[item], *prepared.reasons[item]) if item in affinity.because else prepared.reasons[item]
            for item in items
        ]

    def result(self, placed: Placed, reasons: tuple[str, ...]) -> Result:
        """What is told of an item."""
        item, shelf = placed.item, self.shelf
        return Result(
            item_id=str(self.catalogue.item_ids[item]),
            title=self.catalogue.titles[item],
            score=round(placed.score, 6),
            brand=shelf.value("brand", item),
            category=tuple(value for name in ("department", "product_type") if (value := shelf.value(name, item))),
            price=shelf.price(item),
            reasons=reasons,
            rule=placed.rule or None,
        )


def _key(shopper: Shopper) -> tuple[object, ...]:
    return (shopper.user, shopper.purchases)

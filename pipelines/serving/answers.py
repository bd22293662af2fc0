"""What the engine is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipelines.models.contributions import Contribution
from pipelines.serving.rules import Rules

Placement = Literal["home", "product", "cart", "search-empty"]


@dataclass(frozen=True)
class Provenance:
    """Where an answer comes from.

    Args:
        version: of the registered model; empty for a package that is not registered.
        run: the run commit that made it.
        digest: of its package.
        override: the signed reason why it was let out although gate or approval said no; empty where they did not.
    """

    version: str = ""
    run: str = ""
    digest: str = ""
    override: str = ""


@dataclass(frozen=True)
class Asked:
    """What is wanted.

    Args:
        placement: where on the page.
        count: results; >= 1.
        items: dense ids that the page is about; none of them is an answer.
        categories: of any level, to stay within; everything where empty.
        brands: to stay within; everything where empty.
        new_only: leave out what the shopper ever bought.
        rules: the request's own.
        explain: take apart what the ranking's features added.
    """

    placement: Placement = "home"
    count: int = 10
    items: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    new_only: bool = False
    rules: Rules = field(default_factory=Rules)
    explain: bool = False


@dataclass(frozen=True)
class ScorePart:
    """What something added to the score of a search result.

    Args:
        feature: ``relevance``, ``popularity``, ``keywords``, ``wish``, ``taste`` or ``rule``.
        value: what it was, before it was weighed.
        added: to the score; all parts add up to it.
        words: what it is about, for a shopper.
    """

    feature: str
    value: float
    added: float
    words: str


@dataclass(frozen=True)
class Result:
    """One item of an answer.

    Args:
        item_id: as the shop spells it.
        title: of the item.
        score: higher is better; comparable within one answer only.
        brand: None where unknown.
        category: path, the widest level first.
        price: in the shop's currency; None where unknown.
        reasons: why, in words, the strongest first.
        rule: the shop's rule, or the offer, that moved it; None where none did.
        offer: id of an offer for it that the shopper holds; None where there is none.
        contributions: what the ranking's features added, the strongest first; where that was asked for.
        features: what put the item there, kept with its exposure.
    """

    item_id: str
    title: str
    score: float
    brand: str | None
    category: tuple[str, ...]
    price: float | None
    reasons: tuple[str, ...]
    rule: str | None
    offer: str | None = None
    contributions: tuple[Contribution, ...] = ()
    features: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """Results, best first.

    Args:
        results: may be fewer than asked for, or none.
        based_on: what ordered them: ``history``, ``session``, ``context``, joined by ``+``; else ``popularity``.
        provenance: which model.
    """

    results: list[Result]
    based_on: str
    provenance: Provenance

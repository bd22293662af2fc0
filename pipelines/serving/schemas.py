"""Requests and answers of the HTTP routes, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from pipelines.serving import answers
from pipelines.serving.rules import NO_RULES, Rules
from pipelines.serving.searching import Filters
from pipelines.serving.shelf import GROUPS

MOST_RESULTS = 200
MOST_EVENTS = 1000
Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Names = Annotated[list[Name], Field(max_length=200)]
Ids = Annotated[list[Id], Field(max_length=1000)]
Pseudonym = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
Factor = Annotated[float, Field(gt=0, le=1000)]


class Body(BaseModel):
    """A request: names that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: where a body is a default, every request would have a copy made of what nobody changes."""
        return self


class RulesBody(Body):
    """The shop's rules for one answer; they are added to those of the server's file."""

    exclude: Ids = Field(default=[], description="Item ids that are not shown.")
    exclude_brands: Names = []
    exclude_categories: Names = Field(default=[], description="Of any level.")
    pin: Annotated[list[Id], Field(max_length=50)] = Field(default=[], description="Item ids that come first.")
    boost: dict[Name, Factor] = Field(
        default={}, max_length=100, description="Item id, brand or category, and what its score is multiplied by."
    )
    offer_boost: Factor = Field(
        default=1, description="What the score of items is multiplied by that the shopper holds an offer for."
    )
    out_of_stock: Ids = []
    in_stock: bool = Field(default=True, description="Leave out what cannot be bought.")
    per_brand: int | None = Field(default=None, ge=1, description="Most results of one brand.")
    per_category: int | None = Field(default=None, ge=1, description="Most results of one product type.")
    min_new_share: float = Field(default=0, ge=0, le=1, description="Least share of items that hardly anybody bought.")

    def rules(self) -> Rules:
        """As the engine knows them."""
        if not self.model_fields_set:
            return NO_RULES
        lists = {name: tuple(value) for name, value in self if isinstance(value, list)}
        return Rules(**{**dict(self), **lists})


class Context(Body):
    """What is known of the page."""

    categories: Names = Field(default=[], description="Stay within these, of any level.")
    brands: Names = Field(default=[], description="Stay within these.")


class Whom(Body):
    """Who asks; all of it may be left out."""

    user: Id | None = Field(default=None, description="The shop's own id of the account.", examples=["1158"])
    device: Id | None = Field(default=None, description="Of the device, where nobody is logged in.")
    session: Id | None = Field(default=None, description="Of the visit.")


class RecommendRequest(Whom):
    """What to recommend, and to whom."""

    placement: Literal["home", "product", "cart", "search-empty", "similar", "bought-together"] = Field(
        default="home",
        description="`product`, `similar` and `bought-together` need `items`: what the page shows. `cart` brings what "
        "goes with the cart, and nothing that would be bought instead of it.",
    )
    items: Annotated[list[Id], Field(max_length=50)] = Field(default=[], description="What the page is about.")
    viewed: Annotated[list[Id], Field(max_length=100)] = Field(
        default=[], description="Looked at in this visit, oldest first, beside what /events was told."
    )
    cart: Annotated[list[Id], Field(max_length=200)] = Field(default=[], description="In the cart now.")
    context: Context = Context()
    k: int = Field(default=10, ge=1, le=MOST_RESULTS, description="Results wanted.")
    new_only: bool = Field(default=False, description="Leave out what the shopper ever bought.")
    explain: bool = Field(default=False, description="Tell what each feature of the ranking added, some ms later.")
    rules: RulesBody = RulesBody()


class ModelFacts(BaseModel):
    """Which model answered."""

    version: str = Field(description="Of the registered model.")
    run: str = Field(description="The run commit that made it.")
    override: str | None = Field(
        description="Why it was let out although gate or approval said no, as it was signed; null where they did not."
    )

    @classmethod
    def of(cls, provenance: answers.Provenance) -> ModelFacts:
        return cls(version=provenance.version, run=provenance.run, override=provenance.override or None)


class ContributionFacts(BaseModel):
    """What a feature of the ranking added."""

    model_config = ConfigDict(from_attributes=True)

    feature: str
    value: float
    log_odds: float = Field(description="Added to the log odds of a purchase; below 0 where it speaks against it.")
    words: str = Field(description="What the feature is about, for a shopper.")


class ResultFacts(BaseModel):
    """One item."""

    position: int = Field(description="From 1.")
    item_id: str
    title: str
    score: float = Field(description="Higher is better; comparable within one answer only.")
    brand: str | None
    category: tuple[str, ...] = Field(description="The widest level first.")
    price: float | None
    reasons: tuple[str, ...] = Field(description="Why, in words, the strongest first.")
    rule: str | None = Field(description="The shop's rule, or the offer, that moved it.")
    offer: str | None = Field(default=None, description="An offer for it that the shopper holds, see /offers.")
    contributions: list[ContributionFacts] = Field(default=[], description="With `explain`, the strongest first.")

    @classmethod
    def of(cls, position: int, result: answers.Result, **more: object) -> Self:
        """What is told of a result."""
        parts = [ContributionFacts.model_validate(part) for part in result.contributions]
        return cls.model_validate({**vars(result), **more, "position": position, "contributions": parts})


class RecommendAnswer(BaseModel):
    """Results, best first."""

    request_id: str
    model: ModelFacts
    based_on: str = Field(description="`history`, `session`, `context`, joined by `+`; else `popularity`.")
    known_user: bool = Field(description="Whether the model knows this user's purchases.")
    ignored: list[str] = Field(description="Item ids of the request that the catalogue lacks.")
    results: list[ResultFacts]


def results_of(results: list[answers.Result], first: int = 1) -> list[ResultFacts]:
    """Results with their positions."""
    return [ResultFacts.of(position, result) for position, result in enumerate(results, start=first)]


class FilterBody(Body):
    """What results must be; an empty filter lets all through."""

    categories: Names = Field(default=[], description="Of any level.")
    department: Names = []
    product_type: Names = []
    brand: Names = []
    size: Names = []
    price_from: float | None = Field(default=None, ge=0, le=1e9)
    price_to: float | None = Field(default=None, ge=0, le=1e9)

    def filters(self) -> Filters:
        """As the engine knows them."""
        values = {group: tuple(getattr(self, group)) for group in GROUPS}
        return Filters(values, tuple(self.categories), self.price_from, self.price_to)


class SearchRequest(Whom):
    """What to search for, and for whom."""

    query: str = Field(min_length=1, max_length=10_000, description="Free text.", examples=["cheap frozen pizza"])
    filters: FilterBody = FilterBody()
    offset: int = Field(default=0, ge=0, le=1000, description="Results left out before the first, for paging.")
    k: int = Field(default=10, ge=1, le=MOST_RESULTS, description="Results wanted.")
    correct: bool = Field(default=True, description="Set misspelt words right.")
    understand: bool = Field(
        default=True, description="Read prices, brands, sizes and what is not wanted out of the text, and apply them."
    )
    viewed: Annotated[list[Id], Field(max_length=100)] = Field(default=[], description="As in /recommend.")
    cart: Annotated[list[Id], Field(max_length=200)] = []
    explain: bool = Field(default=False, description="Take every result's score and taste apart, some ms later.")
    rules: RulesBody = RulesBody()


class ScorePartFacts(BaseModel):
    """What something added to the score of a result."""

    model_config = ConfigDict(from_attributes=True)

    feature: str = Field(description="`relevance`, `popularity`, `keywords`, `wish`, `taste` or `rule`.")
    value: float = Field(description="What it was, before it was weighed; of a rule, the factor.")
    added: float = Field(description="To the score, which is the sum of all parts.")
    words: str = Field(description="What it is about, for a shopper; of a rule, which one.")


class HitFacts(ResultFacts):
    """An item that answers a query."""

    relevance: float = Field(description="How well its text answers the query, within 0..1.")
    taste: float = Field(description="What the shopper's taste added to the score.")
    moved: int = Field(description="Places that taste moved it up; down where negative.")
    score_parts: list[ScorePartFacts] = Field(default=[], description="With `explain`, the most first.")


class FacetValue(BaseModel):
    """A value of a facet."""

    value: str
    count: int


class PriceSpan(BaseModel):
    """Prices of what matches."""

    least: float
    most: float


class SearchAnswer(BaseModel):
    """Results, best first."""

    request_id: str
    model: ModelFacts
    query: str = Field(description="What was searched for.")
    corrected: bool = Field(description="Whether that is not what was typed.")
    total: int = Field(description="Results on all pages.")
    taste_weight: float = Field(description="What the shopper's best item gains; 0 where nobody's taste counts.")
    known_user: bool
    ignored: list[str]
    facets: dict[str, list[FacetValue]] = Field(description="Counts, each without regard to its own filter.")
    prices: PriceSpan | None
    results: list[HitFacts]


class EventBody(Body):
    """Something a shopper did."""

    event_id: Id = Field(description="The sender's own; sending the event again is safe.")
    type: Literal["view", "cart", "purchase", "return", "rating", "search", "like", "dislike", "exposure"]
    user: Id | None = None
    device: Id | None = None
    session: Id | None = None
    item_id: Id | None = Field(default=None, description="Needed but for a search.")
    timestamp: AwareDatetime | None = Field(default=None, description="When it happened; now by default.")
    quantity: float | None = Field(default=None, gt=0, le=1e9, description="The stars of a rating.")
    price: float | None = Field(default=None, ge=0, le=1e9, description="Of one unit.")
    channel: Id | None = Field(default=None, description="`web`, `app`, `store`: the shop's own words.")
    query: str | None = Field(default=None, max_length=10_000, description="Needed for a search.")
    request_id: Id | None = Field(default=None, description="Of the answer that the item was seen in.")
    placement: Id | None = None
    position: int | None = Field(default=None, ge=0, lt=1_000_000, description="The place there, from 0.")


class EventsRequest(Body):
    """Events, all of which are stored or none."""

    events: Annotated[list[EventBody], Field(min_length=1, max_length=MOST_EVENTS)]


class EventReceipt(BaseModel):
    """An event is durable."""

    event_id: str
    received: AwareDatetime = Field(description="When it was first accepted, by the server's clock.")
    repeated: bool = Field(description="It was there already, with the same content.")
    offer: str | None = Field(description="The offer that this purchase redeemed: the shopper held it for the item.")


class EventsAnswer(BaseModel):
    """Every event is on the disk, and the next request knows it."""

    request_id: str
    receipts: list[EventReceipt]
    ignored: list[str] = Field(description="Item ids that the model's catalogue lacks; their events are kept.")


class IdentitiesRequest(Body):
    """A device belongs to an account, or does so no more."""

    device: Id
    user: Id | None = Field(default=None, description="The shop's own id of the account.")
    household: Pseudonym | None = Field(
        default=None, description="In place of `user`: one that `/households` names. Needs the scope admin."
    )
    action: Literal["link", "unlink"] = "link"

    @model_validator(mode="after")
    def _one_account(self) -> Self:
        if (self.user is None) == (self.household is None):
            raise ValueError("name the account by user or by household, and not by both")
        return self


class IdentitiesAnswer(BaseModel):
    """It holds from the next request on."""

    request_id: str
    linked: bool

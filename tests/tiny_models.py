"""A tiny shop for models: users of four tastes who buy some products again and again, and the contract of a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.artifacts import read_json, write_json
from pipelines.errors import ModelError
from pipelines.metrics.ranking import top_k
from pipelines.models import training as epochs
from pipelines.models.attributes import Attributes
from pipelines.models.base import Histories, Model, Scoring, Texts, Training
from pipelines.models.blend_settings import BlendSettings
from pipelines.models.features import feature_names
from pipelines.models.found import models
from pipelines.models.fused import Fused, FusionSettings
from pipelines.models.graph import GraphSettings
from pipelines.models.linear import Linear, LinearSettings
from pipelines.models.matrix_factorization import FactorizationSettings, MatrixFactorization
from pipelines.models.popularity import Popularity
from pipelines.models.ranker import Ranker, training_rows
from pipelines.models.recent_linear import RecentLinear, RecentLinearSettings
from pipelines.models.repeat import RepeatSettings, RepeatTiming
from pipelines.models.sequence import SequenceSettings
from pipelines.models.signals import Signals
from pipelines.models.text import TextSimilarity
from pipelines.models.transitions import TransitionSettings
from pipelines.models.tree_blend import TreeBlend
from pipelines.params import Section
from pipelines.validation import measure

NUM_USERS, NUM_ITEMS, TASTES = 80, 60, 4
WINDOW_DAYS = 30.0
FACTORIZATION = FactorizationSettings(factors=8, regularization=1.0, alpha=1.0, iterations=5, threads=1)
FUSION = FusionSettings(
    components=12, text_components=6, text_weight=0.3, ridge=10.0, prior_buyers=3.0, regularization=1.0
)
TRANSITIONS = TransitionSettings(step_decay=0.5, history_decay=0.8)
LINEAR = LinearSettings(regularization=5.0, power=0.5)
GRAPH = GraphSettings(embedding_size=8, epochs=2, steps=4, batch_size=256, negatives=32, learning_rate=0.02)
RECENT_LINEAR = RecentLinearSettings(regularization=3.0)
SEQUENCE = SequenceSettings(
    embedding_size=16, epochs=4, batch_size=512, negatives=32, learning_rate=0.01, min_buyers=2, id_dropout=0.2
)
REPEAT = RepeatSettings(horizon_days=WINDOW_DAYS)
TINY: dict[str, Section] = {
    "fused": FUSION,
    "linear": LINEAR,
    "matrix_factorization": FACTORIZATION,
    "recent_linear": RECENT_LINEAR,
    "repeat": REPEAT,
}
"""Settings by model, small enough for the tiny shop."""
BLEND = BlendSettings(
    rounds=20, learning_rate=0.06, leaves=7, min_leaf_rows=10, negative_share=0.3, bins=255, seed=7, threads=1
)


class TinyShop:
    """Purchases of 180 days and of the 30 days after, from one seed.

    The last user never buys, and the last item is never bought before the window.
    """

    def __init__(self, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        users, items, days = [], [], []
        for user in range(NUM_USERS - 1):
            taste = np.arange(user % TASTES, NUM_ITEMS - 1, TASTES)
            liked = rng.choice(taste, 6, replace=False)
            for _ in range(40):
                users.append(user)
                items.append(liked[min(int(rng.exponential(1.6)), 5)] if rng.random() < 0.75 else rng.choice(taste))
                days.append(rng.uniform(0.0, 180.0 + WINDOW_DAYS))
        order = np.argsort(days, kind="stable")
        self.users = np.array(users, np.int32)[order]
        self.items = np.array(items, np.int32)[order]
        self.days = np.array(days)[order]
        before = self.days < 180.0
        self.histories = self._histories(before)
        self.purchases = np.unique(self.users[~before].astype(np.int64) * NUM_ITEMS + self.items[~before])
        self.candidates = np.arange(NUM_ITEMS, dtype=np.int32)
        text = rng.normal(size=(NUM_ITEMS // 2, 16)) * 0.3 + np.repeat(np.eye(16)[:TASTES], 8, axis=0)[:30]
        unit = text / np.linalg.norm(text, axis=1, keepdims=True)
        index = (np.arange(NUM_ITEMS) % TASTES) * 8 + np.arange(NUM_ITEMS) // TASTES % 6
        self.texts = TextSimilarity(unit.astype(np.float32), index.astype(np.int32).clip(0, len(unit) - 1))
        self.popularity = Popularity.of(self.histories)
        taste = (np.arange(NUM_ITEMS) % TASTES + 1).astype(np.int32)
        self.attributes = Attributes({"category_1": taste, "brand": (np.arange(NUM_ITEMS) % 3 + 1).astype(np.int32)})

    def _histories(self, rows: NDArray[np.bool_]) -> Histories:
        return Histories.from_events(
            self.users[rows],
            self.items[rows],
            self.days[rows],
            np.ones(int(rows.sum()), np.float32),
            num_users=NUM_USERS,
            num_items=NUM_ITEMS,
            as_of=180.0,
        )

    def training(self, **others: Any) -> Training:
        """All that a model may learn from, the models that others build on included."""
        parts = {"histories": self.histories, "texts": self.texts.texts, "attributes": self.attributes, "threads": 1}
        return Training(**{**parts, **others})

    def factorization(self) -> MatrixFactorization:
        return MatrixFactorization.fit(self.training(), FACTORIZATION)

    def fused(self) -> Fused:
        return Fused.fit(self.training(fitted={"matrix_factorization": self.factorization()}), FUSION)

    def signals(self, *names: str) -> Signals:
        """The signals of some models; of all the classical ones by default."""
        fits: dict[str, Callable[[], Model]] = {
            "fused": self.fused,
            "linear": lambda: Linear.fit(self.training(), LINEAR),
            "matrix_factorization": self.factorization,
            "recent_linear": lambda: RecentLinear.fit(self.training(), RECENT_LINEAR),
            "repeat": lambda: RepeatTiming.fit(self.training(), REPEAT),
            "text": lambda: self.texts,
        }
        return Signals(self.popularity, self.texts, {name: fits[name]() for name in sorted(names or fits)})

    def ranker(self, *names: str) -> Ranker:
        signals = self.signals(*names)
        parts = list(training_rows(signals, self.histories, self.candidates, self.purchases, 10))
        rows, bought = np.concatenate([p.rows for p in parts]), np.concatenate([p.bought for p in parts])
        return Ranker(signals, TreeBlend.fit(rows, bought, feature_names(signals), BLEND), 10, 1)


def nobody(num_items: int = NUM_ITEMS) -> Histories:
    """One user without events."""
    return Histories(
        np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32), num_items
    )


def odd_shops(shop: TinyShop) -> dict[str, Training]:
    """Shops that a model must fit, or refuse with a clear error."""

    def purchases(users: list[int], items: list[int], num_users: int, num_items: int) -> Histories:
        rows = np.array(users, np.int32), np.array(items, np.int32), np.linspace(0, 90, len(users))
        ones = np.ones(len(users), np.float32)
        return Histories.from_events(*rows, ones, num_users=num_users, num_items=num_items, as_of=100.0)

    def training(histories: Histories, embeddings: NDArray[np.float32] = shop.texts.embeddings) -> Training:
        texts = Texts(embeddings, shop.texts.text_index[: histories.num_items])
        groups = {name: codes[: histories.num_items] for name, codes in shop.attributes.groups.items()}
        return shop.training(histories=histories, texts=texts, attributes=Attributes(groups))

    everybody = [user for user in range(6) for _ in range(5)]
    return {
        "no events": training(purchases([], [], 3, 4)),
        "one user": training(purchases([0] * 6, [0, 1, 2, 0, 1, 0], 1, 4)),
        "one item": training(purchases([0, 0, 1, 2], [0] * 4, 4, 1)),
        "one event": training(purchases([1], [2], 3, 4)),
        "all equal": training(purchases(everybody, list(range(5)) * 6, 6, 5)),
        "texts of zeros": training(shop.histories, np.zeros_like(shop.texts.embeddings)),
    }


class ScoringContract:
    """What everything that scores keeps; a test class declares ``model``, ``min_ndcg`` and how to ``fit``."""

    model: ClassVar[type[Scoring]]
    min_ndcg: ClassVar[float]

    @classmethod
    def fit(cls, shop: TinyShop) -> Scoring:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def shop(cls) -> TinyShop:
        return TinyShop()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, shop: TinyShop) -> Scoring:
        return cls.fit(shop)

    def test_model_ranks_better_than_its_floor(self, shop: TinyShop, fitted: Scoring) -> None:
        measured = measure(fitted, shop.histories, shop.candidates, shop.purchases)
        assert measured["ndcg_at_10"] >= self.min_ndcg

    def test_model_scores_every_pair_with_a_finite_float32(self, shop: TinyShop, fitted: Scoring) -> None:
        scores = fitted.score(shop.histories, shop.candidates)
        assert scores.dtype == np.float32
        assert scores.shape == (NUM_USERS, NUM_ITEMS)
        assert np.isfinite(scores).all()

    def test_model_scores_a_user_alike_alone_and_in_company(self, shop: TinyShop, fitted: Scoring) -> None:
        together = fitted.score(shop.histories, shop.candidates)[5:6]
        np.testing.assert_allclose(fitted.score(shop.histories.take(5, 6), shop.candidates), together, atol=2e-5)

    def test_model_scores_no_user_and_a_user_without_events(self, shop: TinyShop, fitted: Scoring) -> None:
        assert fitted.score(shop.histories.take(0, 0), shop.candidates).shape == (0, NUM_ITEMS)
        assert np.isfinite(fitted.score(nobody(), shop.candidates)).all()

    def test_model_serves_whom_and_what_it_says(self, shop: TinyShop, fitted: Scoring) -> None:
        scores, cold = fitted.score(shop.histories, shop.candidates), fitted.score(nobody(), shop.candidates)
        buyers = scores[:-1]
        assert (np.ptp(buyers[:, : NUM_ITEMS - 1], axis=0).max() > 0) == fitted.serves.known_users
        assert (np.ptp(cold) > 0) == fitted.serves.cold_users
        assert (np.ptp(buyers[:, NUM_ITEMS - 1]) > 0) == fitted.serves.cold_items

    def test_model_recommends_the_best_of_its_scores(self, shop: TinyShop, fitted: Scoring) -> None:
        some = shop.candidates[::2]
        best = fitted.recommend(shop.histories.take(0, 3), 4, some)
        np.testing.assert_array_equal(best, some[top_k(fitted.score(shop.histories.take(0, 3), some), 4)])
        assert best.dtype == np.int32
        assert fitted.recommend(shop.histories.take(0, 2), NUM_ITEMS + 2)[:, NUM_ITEMS:].tolist() == [[-1, -1]] * 2

    def test_model_folds_in_a_user_alike_alone_and_in_company(self, shop: TinyShop, fitted: Scoring) -> None:
        folded = fitted.fold_in(shop.histories)
        if isinstance(folded, np.ndarray):
            assert folded.shape[0] == NUM_USERS
            assert np.isfinite(folded).all()
            np.testing.assert_allclose(fitted.fold_in(shop.histories.take(5, 6)), folded[5:6], atol=2e-5)
        else:
            assert folded is shop.histories

    def test_model_refuses_to_load_a_file_of_another_version(self, fitted: Scoring, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        header = read_json(tmp_path / "model.json")
        for changed in ({"format": 99}, {"model": "another"}):
            write_json({**header, **changed}, tmp_path / "model.json")
            with pytest.raises(ModelError, match=r"99|another"):
                self.model.load(tmp_path)

    def test_model_scores_a_single_candidate(self, shop: TinyShop, fitted: Scoring) -> None:
        for item in (0, NUM_ITEMS - 1):
            scores = fitted.score(shop.histories.take(0, 3), np.array([item], np.int32))
            assert scores.shape == (3, 1)
            assert np.isfinite(scores).all()

    def test_model_reads_back_what_it_saved(self, shop: TinyShop, fitted: Scoring, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        again = self.model.load(tmp_path)
        assert again.name == self.model.name
        expected = fitted.score(shop.histories, shop.candidates)
        np.testing.assert_array_equal(again.score(shop.histories, shop.candidates), expected)

    def test_model_writes_equal_bytes_when_fitted_again(self, shop: TinyShop, fitted: Scoring, tmp_path: Path) -> None:
        for name, model in (("first", fitted), ("second", self.fit(shop))):
            (tmp_path / name).mkdir()
            model.save(tmp_path / name)
        first, second = files_of(tmp_path / "first"), files_of(tmp_path / "second")
        assert first == second
        assert first

    def test_model_refuses_to_load_when_a_file_is_missing_or_broken(self, fitted: Scoring, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
            kept = path.read_bytes()
            path.write_bytes(kept[: len(kept) // 2])
            with pytest.raises(ModelError):
                self.model.load(tmp_path)
            path.unlink()
            with pytest.raises(ModelError):
                self.model.load(tmp_path)
            path.write_bytes(kept)
        assert self.model.load(tmp_path).name == self.model.name

    def test_model_refuses_to_load_when_a_setting_is_missing(self, fitted: Scoring, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        for path in sorted(tmp_path.rglob("model.json")):
            header = read_json(path)
            for missing in header["settings"]:
                settings = {name: value for name, value in header["settings"].items() if name != missing}
                write_json({**header, "settings": settings}, path)
                with pytest.raises(ModelError, match=f"lacks the setting '{missing}'"):
                    self.model.load(tmp_path)
            write_json(header, path)
        assert self.model.load(tmp_path).name == self.model.name


class ModelContract(ScoringContract):
    """What every model keeps; a test class declares ``model``, ``min_ndcg`` and, where defaults are big, ``settings``.

    A model that builds on others is fitted on those of :meth:`TinyShop.signals`.
    """

    model: ClassVar[type[Model]]
    settings: ClassVar[Section | None] = None

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return cls.fit_on(shop.training())

    @classmethod
    def fit_on(cls, training: Training) -> Model:
        needed = {name: models()[name].fit(training, TINY[name]) for name in cls.model.needs}
        return cls.model.fit(replace(training, fitted=needed), cls.settings or cls.model.Settings())

    @pytest.mark.parametrize("case", ["no events", "one user", "one item", "one event", "all equal", "texts of zeros"])
    def test_model_fits_or_refuses_an_odd_shop_clearly(self, case: str, shop: TinyShop, tmp_path: Path) -> None:
        training = odd_shops(shop)[case]
        refusal = None
        try:
            model = self.fit_on(training)
        except ModelError as error:
            refusal = error
        if refusal is not None:
            assert refusal.mend
            return
        histories = training.histories
        items = np.arange(histories.num_items, dtype=np.int32)
        model.save(tmp_path)
        for kept in (model, self.model.load(tmp_path)):
            assert np.isfinite(kept.score(histories, items)).all()
            assert np.isfinite(kept.score(nobody(histories.num_items), items)).all()
            assert kept.recommend(histories, 2).shape == (histories.num_users, 2)

    def test_model_that_is_killed_after_an_epoch_goes_on_to_the_same_bytes(
        self, shop: TinyShop, fitted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep, kept = epochs._write_checkpoint, 0

        def die(*arguments: Any) -> None:
            nonlocal kept
            keep(*arguments)
            kept += 1
            if kept == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(epochs, "_write_checkpoint", die)
            self.fit_on(shop.training(side=tmp_path / "side"))
        if not kept:
            return  # it does not train in epochs
        for name, model in (("whole", fitted), ("resumed", self.fit_on(shop.training(side=tmp_path / "side")))):
            (tmp_path / name).mkdir()
            model.save(tmp_path / name)
        assert files_of(tmp_path / "whole") == files_of(tmp_path / "resumed")
        assert (tmp_path / "side" / epochs.CHECKPOINT_FILE).is_file(), "the stage removes it, no model"

    @pytest.mark.parametrize("broken", [np.nan, np.inf])
    def test_model_is_never_fitted_on_what_is_not_finite(self, broken: float, shop: TinyShop) -> None:
        spoiled = np.where(np.arange(len(shop.histories.ages)) == 3, np.float32(broken), shop.histories.ages)
        with pytest.raises(ModelError, match="event 3 of the histories"):
            self.fit_on(shop.training(histories=replace(shop.histories, ages=spoiled)))
        if self.model.reads_texts:
            vectors = shop.texts.embeddings.copy()
            vectors[2, 1] = broken
            with pytest.raises(ModelError, match="text 2 has a vector"):
                self.fit_on(shop.training(texts=Texts(vectors, shop.texts.text_index)))
            with pytest.raises(ModelError, match="text"):
                self.fit_on(shop.training(texts=None))

    def test_model_that_can_be_chosen_is_found_by_its_name(self) -> None:
        if self.model.stage is not None:
            assert models()[self.model.name] is self.model
            assert set(self.model.needs) <= set(models())

    def test_settings_have_defaults_and_refuse_what_they_do_not_know(self) -> None:
        assert self.model.Settings() == self.model.Settings()
        with pytest.raises(ValidationError):
            self.model.Settings.model_validate({"no_such_setting": 1})


def files_of(directory: Path) -> dict[str, Any]:
    """Bytes of every file by its name."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}

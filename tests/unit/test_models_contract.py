"""Every model keeps the contract of :class:`pipelines.models.base.Model`."""

from __future__ import annotations

from pipelines.models.base import Model
from pipelines.models.fused import Fused
from pipelines.models.linear import Linear
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.popularity import Popularity
from pipelines.models.ranker import Ranker
from pipelines.models.repeat import DecayedCounts, OwnCounts, RepeatTiming
from pipelines.models.text import TextSimilarity
from tests.tiny_models import WINDOW_DAYS, ModelContract, TinyShop


class TestPopularity(ModelContract):
    model = Popularity
    min_ndcg = 0.10

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return Popularity.fit(shop.histories)


class TestOwnCounts(ModelContract):
    model = OwnCounts
    min_ndcg = 0.55

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return OwnCounts(shop.popularity.buyers)


class TestDecayedCounts(ModelContract):
    model = DecayedCounts
    min_ndcg = 0.55

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return DecayedCounts(shop.popularity.buyers, 0.95)


class TestRepeatTiming(ModelContract):
    model = RepeatTiming
    min_ndcg = 0.50

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return RepeatTiming.fit(shop.histories, shop.popularity.buyers, WINDOW_DAYS)


class TestMatrixFactorization(ModelContract):
    model = MatrixFactorization
    min_ndcg = 0.30

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return shop.factorization()


class TestLinear(ModelContract):
    model = Linear
    min_ndcg = 0.30

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return Linear.fit(shop.histories, 5.0, 0.5)


class TestTextSimilarity(ModelContract):
    model = TextSimilarity
    min_ndcg = 0.15

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return TextSimilarity(shop.texts.embeddings, shop.texts.text_index)


class TestFused(ModelContract):
    model = Fused
    min_ndcg = 0.30

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return shop.signals().fused


class TestRanker(ModelContract):
    model = Ranker
    min_ndcg = 0.60

    @classmethod
    def fit(cls, shop: TinyShop) -> Model:
        return shop.ranker()

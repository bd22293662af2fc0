"""Every model keeps the contract of :class:`pipelines.models.base.Model`; one that declares no test fails here."""

from __future__ import annotations

import ast
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import iter_modules

import pipelines.models
from pipelines.models.base import Scoring
from pipelines.models.cold_start import ColdStart
from pipelines.models.fused import Fused
from pipelines.models.graph import LightGCN
from pipelines.models.linear import Linear
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.popularity import Popularity
from pipelines.models.ranker import Ranker
from pipelines.models.recent_linear import RecentLinear
from pipelines.models.repeat import DecayedCounts, OwnCounts, RepeatTiming
from pipelines.models.sequence import Sequence
from pipelines.models.text import TextSimilarity
from pipelines.models.transitions import Transitions
from tests.tiny_models import (
    FACTORIZATION,
    FUSION,
    GRAPH,
    LINEAR,
    RECENT_LINEAR,
    REPEAT,
    SEQUENCE,
    TRANSITIONS,
    ModelContract,
    ScoringContract,
    TinyShop,
)


class TestPopularity(ModelContract):
    model = Popularity
    min_ndcg = 0.10


class TestOwnCounts(ModelContract):
    model = OwnCounts
    min_ndcg = 0.55


class TestDecayedCounts(ModelContract):
    model = DecayedCounts
    min_ndcg = 0.55


class TestRepeatTiming(ModelContract):
    model = RepeatTiming
    min_ndcg = 0.50
    settings = REPEAT


class TestMatrixFactorization(ModelContract):
    model = MatrixFactorization
    min_ndcg = 0.30
    settings = FACTORIZATION


class TestLinear(ModelContract):
    model = Linear
    min_ndcg = 0.30
    settings = LINEAR


class TestLightGCN(ModelContract):
    model = LightGCN
    min_ndcg = 0.30
    settings = GRAPH


class TestSequence(ModelContract):
    model = Sequence
    min_ndcg = 0.45
    settings = SEQUENCE


class TestTransitions(ModelContract):
    model = Transitions
    min_ndcg = 0.30
    settings = TRANSITIONS


class TestColdStart(ModelContract):
    model = ColdStart
    min_ndcg = 0.15


class TestRecentLinear(ModelContract):
    model = RecentLinear
    min_ndcg = 0.30
    settings = RECENT_LINEAR


class TestTextSimilarity(ModelContract):
    model = TextSimilarity
    min_ndcg = 0.15


class TestFused(ModelContract):
    model = Fused
    min_ndcg = 0.30
    settings = FUSION


class TestRanker(ScoringContract):
    model = Ranker
    min_ndcg = 0.60

    @classmethod
    def fit(cls, shop: TinyShop) -> Scoring:
        return shop.ranker()


def declared_contracts() -> set[str]:
    """Names of the classes whose contract some test module declares (``model = X``)."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and {"ModelContract", "ScoringContract"} & {
                ast.unparse(base) for base in node.bases
            }:
                found |= {
                    ast.unparse(step.value)
                    for step in node.body
                    if isinstance(step, ast.Assign) and ast.unparse(step.targets[0]) == "model"
                }
    return found


def scoring_classes() -> set[str]:
    """Names of every class in ``pipelines/models`` that scores items for users."""
    for module in iter_modules(pipelines.models.__path__, "pipelines.models."):
        import_module(module.name)
    found, pending = set(), [Scoring]
    while pending:
        for kind in pending.pop().__subclasses__():
            pending.append(kind)
            if kind.__module__.startswith("pipelines.models.") and not isabstract(kind):
                found.add(kind.__name__)
    return found


def test_every_model_declares_its_contract() -> None:
    assert scoring_classes() - declared_contracts() == set(), "a model without a class of tests and a floor"

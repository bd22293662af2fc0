"""The registered model, as code: MLflow runs this file to make the model and hands it the package.

A request is a row: ``task`` (``recommend`` or ``search``), ``user_id``, ``query``, ``k``. The answer has one row per
item, best first: ``position`` (from 1, starting again with every request), ``item_id``, ``title``, ``score``.

``user_id`` is the shop's own; it is hashed here with the key ring in the state folder (``SHOPLOOM_HOME``, or
``.shoploom`` in the folder that the server was started in).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow.models
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipelines.errors import ModelError, ShoploomError
from pipelines.models.recommender import Recommender
from pipelines.pseudonyms import stored_id
from pipelines.stage_environment import state_folder

TASKS = ("recommend", "search")
COLUMNS = ["position", "item_id", "title", "score"]
DEFAULT_K = 10
MOST_K = 1000


class ShoploomModel(PythonModel):  # type: ignore[misc]
    """Search and recommendations from one package."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the package, the artifact of that name."""
        self.recommender = Recommender.load(Path(context.artifacts["package"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer every request in turn.

        Raises:
            MlflowException: a request is wrong; the server answers 400 with its number, from 0, and the reason.
        """
        answers: list[dict[str, Any]] = []
        for row, request in enumerate(model_input.to_dict("records")):
            try:
                found = self._answer(request)
            except ShoploomError as error:
                raise MlflowException(f"request {row}: {error}", error_code=INVALID_PARAMETER_VALUE) from error
            answers += [
                {"position": place, "item_id": item.item_id, "title": item.title, "score": float(item.score)}
                for place, item in enumerate(found, start=1)
            ]
        return pd.DataFrame(answers, columns=COLUMNS).astype(
            {"position": "int64", "item_id": "str", "title": "str", "score": "float64"}
        )

    def _answer(self, request: Mapping[Any, Any]) -> list[Any]:
        """Items for one request.

        Raises:
            ModelError: the request is wrong.
        """
        task = _text(request, "task")
        raw, query, k = _text(request, "user_id"), _text(request, "query"), _count(request)
        key = self.recommender.catalogue.user_key
        user = stored_id(raw, key, state_folder()) if raw else None
        if task == "search":
            if not query:
                raise ModelError("task 'search' needs a query")
            return list(self.recommender.search(query, k, user))
        if task == "recommend":
            if not user:
                raise ModelError("task 'recommend' needs a user_id")
            return list(self.recommender.recommend(user, k))
        raise ModelError(f"task {task!r} is unknown: it is one of {', '.join(TASKS)}")


def _text(request: Mapping[Any, Any], column: str) -> str | None:
    """A string column, None where it is missing or null."""
    value = request.get(column)
    return value if isinstance(value, str) else None


def _count(request: Mapping[Any, Any]) -> int:
    """``k``, 10 where it is missing or null.

    Raises:
        ModelError: it lies outside 1..1000.
    """
    value = request.get("k")
    k = DEFAULT_K if value is None or pd.isna(value) else int(value)
    if not 1 <= k <= MOST_K:
        raise ModelError(f"k must lie in 1..{MOST_K}, not {k}")
    return k


mlflow.models.set_model(ShoploomModel())

"""Monitor: on every new data version, measure what has drifted since the champion was trained: ``measure -> decide``.

Then ``emit``, which tells the train DAG, when the rule in ``params.yaml`` says so. Nothing else starts a training but a
person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from dags.operators import FunctionOperator, returned, run_module
from pipelines.artifacts import read_json, write_json
from pipelines.errors import RegistryError, ShoploomError
from pipelines.orchestration.notify import task_failed
from pipelines.runs.worktrees import run_folder
from pipelines.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pipelines.monitoring.windows import Landed
    from pipelines.params import MonitorParams
    from pipelines.registry.promotion import Champion

DATA = Asset("shoploom://data")
RETRAIN = Asset("shoploom://retrain")


def measure(context: Context) -> dict[str, Any]:
    """Measure each window's drift from what the champion was trained on, and the champion's quality on the newest.

    Where the last decision measured all of this already, what it measured is given again.
    """
    from pipelines.monitoring.decisions import measured_before
    from pipelines.monitoring.windows import Landed, measure_drift, windows_of
    from pipelines.registry.decisions import last_decisions
    from pipelines.registry.promotion import champion
    from pipelines.runs.accepted import accepted_history

    settings = Settings()
    params, asked_for = asked(settings)
    found = accepted_history(settings)
    reigning = champion(settings)
    version = reigning.version if reigning else None
    before = measured_before(last_decisions(settings, 1), found["commit"], version, asked_for)
    if before is not None:
        return before
    trained, unmeasured = None, ""
    if reigning and reigning.data_version:
        try:
            trained = Landed.of(accepted_history(settings, reigning.data_version))
        except ShoploomError as error:
            # A champion that came without its data, or whose data version is lost, is no reason not to look at the new.
            unmeasured = f"the data version that it was trained on is not here: {error.message}"
    landed = Landed.of(found)
    windows = windows_of(landed, trained, params)
    drifts = measure_drift(windows, landed, trained, params, settings.home / "profiles")
    quality: dict[str, dict[str, float | None]] = {}
    wanted = bool(reigning and trained and drifts and params.users)
    if reigning and trained and wanted:
        try:
            quality = champion_quality(context, reigning, landed, trained, next(reversed(drifts)))
        except (AirflowException, ShoploomError) as error:
            # A package of an older format, or one that is lost, is no reason not to look at the data.
            unmeasured = str(error)
    return {
        "data_version": found["commit"],
        "champion": version,
        "unmeasured": unmeasured,
        "asked": asked_for if not unmeasured and (quality or not wanted) else {},
        "windows": [{"partition": name, "measures": drifts.get(name, {}) | quality.get(name, {})} for name in windows],
    }


def asked(settings: Settings) -> tuple[MonitorParams, dict[str, Any]]:
    """The section ``monitor``, and all of ``params.yaml`` that decides what is measured."""
    from pipelines.params import MonitorParams, PrepareParams, SeedParams, load_params

    path = settings.repository / "params.yaml"
    params = load_params(MonitorParams, "monitor", path)
    return params, {
        "n": params.n,
        "reference": params.reference,
        "users": params.users,
        "seed": load_params(SeedParams, "seed", path).value,
        "event_types": list(load_params(PrepareParams, "prepare", path).event_types),
    }


def champion_quality(
    context: Context, reigning: Champion, landed: Landed, trained: Landed, window: str
) -> dict[str, dict[str, float | None]]:
    """NDCG@10 on a window, and the part of it that is lost since the champion's own last partition.

    Nothing, where this machine lacks one of the partitions between the champion's histories and the window.
    """
    from pipelines.monitoring.windows import since
    from pipelines.orchestration.champions import champion_package

    settings = Settings()
    package = champion_package(settings, reigning)
    facts = read_json(package / "manifest.json").get("facts") or {}
    if "as_of" not in facts:
        raise RegistryError(f"the package of version {reigning.version} does not say when its histories end")
    partitions = since(landed, facts["as_of"])
    own = trained.in_order()[-1]
    if not {window, own} <= partitions.keys():
        return {}
    folder = run_folder(settings, context["run_id"])
    request, answered = folder / "quality.request.json", folder / "quality.answer.json"
    chosen = {name: asked(settings)[1][name] for name in ("event_types", "users", "seed")}
    write_json({"package": str(package), "partitions": partitions, "windows": [own, window], **chosen}, request)
    run_module("pipelines.monitoring.quality", [str(request), str(answered)], context)
    answer = read_json(answered)
    before, now = (answer[name]["ndcg_at_10"] for name in (own, window))
    lost = None if not before or now is None else round(1.0 - now / before, 6)
    return {window: {"ndcg_at_10": now, "ndcg_at_10_before": before, "quality_loss": lost}}


def decide(context: Context) -> dict[str, Any]:
    """Hold the windows against their limits and the rule; log the decision with its numbers and a plot."""
    from pipelines.metrics.monitor_plots import draw_windows
    from pipelines.monitoring.decisions import decision_of
    from pipelines.params import MONITOR_LIMITS, MonitorParams, load_params
    from pipelines.registry.decisions import last_decisions, record_decision
    from pipelines.runs.load_docs import docs_of

    settings = Settings()
    params = load_params(MonitorParams, "monitor", settings.repository / "params.yaml")
    earlier = last_decisions(settings, params.n)
    decision = decision_of(returned(context, "measure"), earlier, params)
    if decision["repeats"]:
        return decision
    plot = run_folder(settings, context["run_id"]) / "windows.png"
    limits = {name: params.limit(name) for name in MONITOR_LIMITS}
    drawn = any(window["measures"] for window in decision["windows"])
    if drawn:
        draw_windows(decision["windows"], limits, decision["why"], plot)
    docs = docs_of(settings, decision["data_version"])
    run = record_decision(settings, decision, plot if drawn else None, docs)
    return {**decision, "mlflow_run": run}


def emit(context: Context) -> str:
    """Tell the train DAG."""
    decision = returned(context, "decide")
    if not decision["retrain"]:
        raise AirflowSkipException(decision["why"])
    context["outlet_events"][RETRAIN].extra = {"commit": decision["data_version"], "why": decision["why"]}
    return str(decision["why"])


with DAG(
    dag_id="monitor",
    schedule=DATA,
    catchup=False,
    max_active_runs=1,
    description="Measure what has drifted since the champion was trained, and decide whether to train again.",
    doc_md=__doc__,
    default_args={"on_failure_callback": task_failed},
    tags=["shoploom"],
) as dag:
    tasks = [FunctionOperator(function=function) for function in (measure, decide)]
    tasks[0] >> tasks[1] >> FunctionOperator(function=emit, outlets=[RETRAIN])

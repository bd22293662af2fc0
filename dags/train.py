"""Train: ``dvc.yaml`` rendered as tasks between ``start`` and ``finish``, then ``register -> gate -> promote``.

Runs when the monitor DAG says so; what queues up meanwhile is trained on once.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, AssetAlias, Param

from dags.dvc_graph import read_graph
from dags.operators import FunctionOperator, returned
from dags.render import describe, render
from pipelines.orchestration.notify import task_failed
from pipelines.runs.worktrees import run_folder
from pipelines.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from pipelines.params import GateParams
    from pipelines.registry.gate_serving import ServingTrial
    from pipelines.runs.start import ChampionPin

PURPOSE = "Train, compare with the champion, and promote what is better."
APPROVAL = Asset("shoploom://approval")
WAITING = AssetAlias("shoploom-approval")
"""Tells the approve DAG of a version, when one waits for a person; no other run of ``promote`` tells it anything."""
EVALUATION = "data/evaluate"
REPORT = "data/validate/report.json"
REVISION = r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$"
MODELS = r"^[a-z][a-z0-9_, ]{0,499}$"


def start(context: Context) -> dict[str, Any]:
    """Merge code and data into the start commit, pin the champion, and open the books."""
    from pipelines.chosen import check_chosen
    from pipelines.registry.books import RunStart, open_run, tag_run
    from pipelines.runs.git import Git
    from pipelines.runs.load_docs import docs_of
    from pipelines.runs.start import start_run

    settings = Settings()
    given = context["params"]
    begun = start_run(settings, _champion_pin(settings), given["code"], given["models"])
    check_chosen(Git(settings.repository).read(begun.commit, "params.yaml") or b"")
    books = RunStart(context["run_id"], begun.commit, begun.code_commit, begun.data_commit, begun.dirty)
    opened, docs = open_run(settings, books), docs_of(settings, begun.data_commit)
    if docs:
        tag_run(settings, opened, data_docs=str(docs))
    return {"start": begun.to_dict(), "mlflow_run": opened}


def _champion_pin(settings: Settings) -> ChampionPin | None:
    from pipelines.orchestration.champions import champion_package
    from pipelines.registry.promotion import champion
    from pipelines.runs.start import ChampionPin

    reigning = champion(settings)
    if reigning is None:
        return None
    return ChampionPin(reigning.version, reigning.digest, reigning.run, champion_package(settings, reigning))


def finish(context: Context) -> dict[str, Any]:
    """Write the run commit: the start's two parents and the finished ``dvc.lock``."""
    from pipelines.lineage.anchors import anchor_in_registry, head_of
    from pipelines.lineage.audit import record
    from pipelines.lineage.proof import training_root
    from pipelines.registry.books import tag_run
    from pipelines.runs.run_commits import finish_run
    from pipelines.runs.start import Start

    settings = Settings()
    begun = returned(context, "start")
    entries = {name: returned(context, name)["lock_entry"] for name in STAGES}
    sealed = training_root(settings, entries)
    run = finish_run(settings, Start.from_dict(begun["start"]), entries, context["run_id"], head_of(settings), sealed)
    tag_run(settings, begun["mlflow_run"], run_commit=run.commit, run_ref=run.ref)
    cached = [name for name in STAGES if returned(context, name)["cached"]]
    facts = {"code": run.code_commit, "data": run.data_commit, "dirty": run.dirty, "cached": cached}
    record(settings, "train", f"run {run.commit}", run=context["run_id"], **facts)
    anchor_in_registry(settings, begun["mlflow_run"])
    return {"commit": run.commit, "ref": run.ref}


def register(context: Context) -> dict[str, Any]:
    """Register the run's package, or find the version that holds these very bytes."""
    from pipelines.orchestration.champions import PACKAGE
    from pipelines.registry.package import RunInfo
    from pipelines.registry.package import register as register_package
    from pipelines.runs.run_commits import fetch_output, find_run

    settings = Settings()
    begun, run = returned(context, "start"), find_run(settings, returned(context, "finish")["commit"])
    folder = run_folder(settings, context["run_id"])
    package = fetch_output(settings, run, PACKAGE, folder / "package")
    evaluation = fetch_output(settings, run, EVALUATION, folder / "evaluate")
    info = RunInfo(begun["mlflow_run"], run.commit, run.data_commit, run.code_commit)
    version = register_package(settings, package, evaluation, info)
    return {"version": version.version, "digest": version.digest, "created": version.created}


def gate(context: Context) -> dict[str, Any]:
    """Judge the candidate against the champion, or the best plain baseline, on the same users."""
    from pipelines.lineage.audit import record
    from pipelines.lineage.trust import approval_rule
    from pipelines.params import GateParams, load_params
    from pipelines.registry.gate import decide
    from pipelines.registry.gate_books import record_verdict
    from pipelines.registry.gate_comparison import Evaluated
    from pipelines.registry.gate_report import render_verdict
    from pipelines.runs.worktrees import prepare_worktree

    settings = Settings()
    begun = returned(context, "start")
    worktree = prepare_worktree(settings, begun["start"]["commit"], context["run_id"])
    evaluation = run_folder(settings, context["run_id"]) / "evaluate"
    params = load_params(GateParams, "gate", worktree / "params.yaml")
    verdict = decide(evaluation, params, _serving(context, params))
    record_verdict(
        settings,
        begun["mlflow_run"],
        verdict,
        version=returned(context, "register")["version"],
        report=evaluation / "report.html",
        page=render_verdict(verdict, Evaluated(evaluation), params),
    )
    version = returned(context, "register")["version"]
    judged = {name: verdict.as_dict()[name] for name in ("decision", "mode", "reference", "effect", "p_value", "why")}
    record(settings, "gate", f"version {version}", run=context["run_id"], **judged)
    _sign(context, verdict.as_dict(), params.model_dump(), approval_rule(worktree))
    return verdict.as_dict()


def _serving(context: Context, params: GateParams) -> ServingTrial | None:
    """Try the candidate in a server beside the champion, where a guardrail asks for it and the two differ."""
    from pipelines.orchestration.champions import champion_package
    from pipelines.registry.gate_serving import try_serving
    from pipelines.registry.promotion import champion

    settings = Settings()
    if params.margins.latency is None and params.margins.memory is None:
        return None
    reigning = champion(settings)
    if reigning is not None and reigning.digest == returned(context, "register")["digest"]:
        return None
    package = run_folder(settings, context["run_id"]) / "package"
    return try_serving(settings, package, champion_package(settings, reigning) if reigning else None)


def _sign(context: Context, verdict: dict[str, Any], params: dict[str, Any], approval: str) -> None:
    """Sign what the run made, and the verdict."""
    from pipelines.lineage.release import Made, sign_release
    from pipelines.runs.run_commits import fetch_output, find_run, read_lock

    settings = Settings()
    run, version = find_run(settings, returned(context, "finish")["commit"]), returned(context, "register")
    folder, lock = run_folder(settings, context["run_id"]), read_lock(settings, run)
    report = fetch_output(settings, run, REPORT, folder / "report.json") if "validate" in lock else None
    parents = {"run_commit": run.commit, "code": run.code_commit, "data": run.data_commit}
    made = Made(
        version["version"], version["digest"], folder / "package", **parents, run_id=run.run_id, approval=approval
    )
    sign_release(settings, made, lock, (verdict, params), report)


def promote(context: Context) -> dict[str, Any]:
    """Move the alias ``champion`` when the gate says so, write the model card, sum the run up, and close the books."""
    from pipelines.lineage.anchors import anchor_in_registry
    from pipelines.lineage.card_pages import publish_card
    from pipelines.lineage.promotions import AWAITING, promote_judged
    from pipelines.registry.books import close_run
    from pipelines.registry.gate_verdict import Verdict
    from pipelines.registry.summary import summarise

    settings = Settings()
    verdict = Verdict.from_dict(returned(context, "gate"))
    version = returned(context, "register")["version"]
    promotion = promote_judged(settings, version, verdict, context["run_id"])
    if promotion.why.startswith(AWAITING):
        context["outlet_events"][WAITING].add(APPROVAL, extra={"version": version})
    books = returned(context, "start")["mlflow_run"]
    anchor_in_registry(settings, books)
    publish_card(settings, version)
    summarise(settings, books, promoted=promotion.moved, promotion=promotion.why)
    close_run(settings, books)
    for copy in ("package", "evaluate"):
        shutil.rmtree(run_folder(settings, context["run_id"]) / copy, ignore_errors=True)
    return {"champion": promotion.champion, "previous": promotion.previous, "moved": promotion.moved}


def close_failed(context: Context) -> None:
    """Close the books of a run whose task failed."""
    begun = returned(context, "start")
    if begun:
        from pipelines.registry.books import close_run

        close_run(Settings(), begun["mlflow_run"], "FAILED", failed_task=str(context["ti"].task_id))


GRAPH = read_graph(Settings().repository / "dvc.yaml")
STAGES = tuple(stage.name for stage in GRAPH)

with DAG(
    dag_id="train",
    schedule=Asset("shoploom://retrain"),
    catchup=False,
    max_active_runs=1,
    description=PURPOSE,
    doc_md=describe(GRAPH, PURPOSE),
    default_args={"on_failure_callback": [task_failed, close_failed]},
    params={
        "code": Param(
            None,
            type=["null", "string"],
            pattern=REVISION,
            description="The git revision to run; empty: what is checked out, uncommitted changes included.",
        ),
        "models": Param(
            None,
            type=["null", "string"],
            pattern=MODELS,
            description="The models to train: all, or names with commas; empty: as params.yaml says.",
        ),
    },
    tags=["shoploom"],
) as dag:
    first = FunctionOperator(function=start)
    last = FunctionOperator(function=finish)
    steps = [FunctionOperator(function=function) for function in (register, gate)]
    steps.append(FunctionOperator(function=promote, outlets=[WAITING]))
    render(GRAPH, first, last)
    last >> steps[0] >> steps[1] >> steps[2]

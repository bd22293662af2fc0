"""Stage records -> Airflow tasks and edges, in two passes: every task into a map, then every edge."""

from __future__ import annotations

from collections.abc import Mapping

from airflow.sdk import BaseOperator

from dags.dvc_graph import Graph
from dags.operators import DvcStageOperator
from pipelines.errors import GraphError


def render(graph: Graph, first: BaseOperator, last: BaseOperator) -> dict[str, DvcStageOperator]:
    """Render a graph between two tasks, inside the DAG that is being defined.

    Args:
        graph: the stages.
        first: what every stage without an upstream follows; it returns what a run starts from.
        last: what follows every stage that nothing reads.

    Returns:
        The stages' tasks by name.

    Raises:
        GraphError: a stage has the name of a task that is there already.
    """
    taken = set(first.dag.task_ids)
    tasks: dict[str, DvcStageOperator] = {}
    for stage in graph:
        if stage.name in taken:
            raise GraphError(
                f"dvc.yaml: a stage cannot be named {stage.name!r}: the DAG has a task of that name",
                mend="rename the stage and its module",
            )
        tasks[stage.name] = DvcStageOperator(
            stage=stage.name, upstream_stages=stage.upstream, graph_sha256=graph.digest, start_task=first.task_id
        )
    _connect(graph, tasks, first, last)
    return tasks


def _connect(graph: Graph, tasks: Mapping[str, BaseOperator], first: BaseOperator, last: BaseOperator) -> None:
    read = {name for stage in graph for name in stage.upstream}
    for stage in graph:
        if not stage.upstream:
            first.set_downstream(tasks[stage.name])
        for name in stage.upstream:
            tasks[name].set_downstream(tasks[stage.name])
        if stage.name not in read:
            tasks[stage.name].set_downstream(last)
    if not tasks:
        first.set_downstream(last)


def describe(graph: Graph, purpose: str) -> str:
    """The DAG's documentation, Markdown. It holds the graph's hash, so that DAG versioning sees every change.

    Args:
        graph: the stages.
        purpose: what the DAG is for, the first paragraph.
    """
    rows = [
        f"| `{stage.name}` | {', '.join(f'`{name}`' for name in stage.upstream) or 'start'} | {stage.description} |"
        for stage in graph
    ]
    table = "\n".join(["| stage | after | |", "| --- | --- | --- |", *rows])
    return f"{purpose}\n\n{table}\n\nRendered from `dvc.yaml`, sha256 `{graph.digest}`.\n"

"""Approve: a version that waits for a person is shown in Airflow, and promoted once an approver has signed it.

``ask`` waits in Airflow's UI, under required actions, and holds no worker. The answer there only lets the run go on:
``promote`` verifies the whole chain, so it takes the approver's signature too (``shoploom approve VERSION``).
The train DAG starts this by the asset ``shoploom://approval``; it does not wait itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Asset, Param

from dags.operators import FunctionOperator, returned
from pipelines.errors import ConfigError
from pipelines.orchestration.notify import task_failed
from pipelines.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVAL = Asset("shoploom://approval")


def which(context: Context) -> dict[str, str]:
    """Which version waits: the one that the training names, or the one that a person names."""
    named = context["params"]["version"]
    events = context["triggering_asset_events"].get(APPROVAL) if not named else None
    if events:
        named = events[-1].extra["version"]
    if not named:
        raise ConfigError("no version is named", mend='trigger it with {"version": "2"}')
    return {"version": str(named)}


class AskOperator(ApprovalOperator):  # type: ignore[misc]
    """Ask in Airflow's UI. Nothing is templated; what was rejected goes to the audit log."""

    template_fields: Sequence[str] = ()

    def execute(self, context: Context) -> Any:
        """Write the question, and wait without a worker."""
        from pipelines.registry.promotion import registered

        version = returned(context, "which")["version"]
        found = registered(Settings(), version)
        self.subject = f"May version {version} be promoted?"
        self.body = (
            f"Run `{found.run[:12]}`, data `{found.data_version[:12]}`, package `{found.digest[:12]}`.\n\n"
            f"Sign it: `shoploom approve {version} --key FILE`. Then approve here; it is verified and promoted."
        )
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on when a person has answered."""
        from pipelines.lineage.audit import record

        if self.REJECT in (event.get("chosen_options") or []):
            version, by = returned(context, "which")["version"], event.get("responded_by_user") or {}
            why = f"rejected in Airflow by {by.get('name') or by.get('id') or 'somebody'}"
            record(Settings(), "refusal", f"version {version}", run=context["run_id"], why=why)
        return super().execute_complete(context, event)


def promote(context: Context) -> dict[str, Any]:
    """Verify the whole chain, the approver's signature with it, and move the alias."""
    from dataclasses import asdict

    from pipelines.lineage.promotions import promote_version

    return asdict(promote_version(Settings(), returned(context, "which")["version"]))


with DAG(
    dag_id="approve",
    schedule=APPROVAL,
    catchup=False,
    description="Ask a person whether a version may be promoted, verify, and promote it.",
    doc_md=__doc__,
    default_args={"on_failure_callback": task_failed},
    params={
        "version": Param(
            None, type=["null", "string"], pattern="^[0-9]{1,9}$", description="The version; empty: the one that waits."
        )
    },
    tags=["shoploom"],
) as dag:
    ask = AskOperator(task_id="ask", subject="May it be promoted?")
    FunctionOperator(function=which) >> ask >> FunctionOperator(function=promote)

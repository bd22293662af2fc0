"""The verdict in the books: tags, verdict.json, the verdict's own page, and the evaluation's report with it."""

from __future__ import annotations

import html
import tempfile
from pathlib import Path

from pipelines.registry.gate_verdict import VERDICT_FILE, VERDICT_PAGE, Verdict, verdict_tags
from pipelines.settings import Settings


def record_verdict(
    settings: Settings,
    parent_run_id: str,
    verdict: Verdict,
    *,
    version: str | None = None,
    report: Path | None = None,
    page: str = "",
) -> None:
    """Keep a verdict in the books.

    Tags ``gate.*`` go on the run and on the model version, the seconds of the trial in servers to the run's metrics;
    ``verdict.json``, the verdict's page and the report, with the verdict written into it, become artifacts of the run.

    Args:
        settings: names the store.
        parent_run_id: the run.
        verdict: of the gate.
        version: of the model that was judged.
        report: of ``evaluate``.
        page: HTML of the verdict.

    Raises:
        RegistryError: MLflow does not answer, or the version does not exist.
    """
    from pipelines.registry.store import MODEL, connect, existing, translated

    client = connect(settings)
    tags = verdict_tags(verdict)
    with translated(settings):
        for name, value in tags.items():
            client.set_tag(parent_run_id, name, value)
        client.log_dict(parent_run_id, verdict.as_dict(), VERDICT_FILE)
        if verdict.serving_seconds is not None:
            client.log_metric(parent_run_id, "gate.serving_seconds", verdict.serving_seconds)
        if page:
            client.log_text(parent_run_id, page, VERDICT_PAGE)
        if version is not None:
            existing(client, version)
            for name, value in tags.items():
                client.set_model_version_tag(MODEL, version, name, value)
        if report is not None and report.is_file():
            with tempfile.TemporaryDirectory() as folder:
                judged = Path(folder) / "report.html"
                judged.write_text(with_verdict(report.read_text(encoding="utf-8"), verdict), encoding="utf-8")
                client.log_artifact(parent_run_id, str(judged))


def with_verdict(page: str, verdict: Verdict) -> str:
    """Insert the verdict at the head of the report's body."""
    low, high = verdict.interval
    cells = {
        "decision": verdict.decision + (" (dry run)" if verdict.mode == "dry_run" else ""),
        "compared with": verdict.reference
        + (f" (version {verdict.champion_version})" if verdict.champion_version else ""),
        f"{verdict.metric}, mean difference": f"{verdict.effect:+.4f}",
        "interval": f"{low:+.4f} to {high:+.4f}",
        "p-value": f"{verdict.p_value:.2g}",
        "users": f"{verdict.users:,}",
        "why": verdict.why,
        **{f"guardrail {rail.name}": f"{rail.standing}: {rail.why}" for rail in verdict.guardrails},
    }
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in cells.items()
    )
    section = f'<section id="gate"><h2>Gate: {html.escape(verdict.decision)}</h2><table>{rows}</table></section>\n'
    start = page.find("<body")
    end = page.find(">", start) + 1 if start >= 0 else 0
    return page[:end] + "\n" + section + page[end:]

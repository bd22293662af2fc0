"""The gate: may the candidate become champion?

    champion saw test events ─────────────────────────────> inconclusive
    effect significant and at least ``min_effect`` ───────> promote
    significantly worse, or at best below ``min_effect`` ─> reject
    anything else ────────────────────────────────────────> inconclusive

Candidate and reference are compared user by user, on the same users, window and items, as ``evaluate`` scored them.
A champion that an older shoploom packaged in a form that this one can neither score nor serve is no reference: the best
plain baseline is, and the reason says so.
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import DataError, near_names
from pipelines.params import GateParams

if TYPE_CHECKING:
    from pipelines.metrics.significance import Comparison
    from pipelines.settings import Settings

Decision = Literal["promote", "reject", "inconclusive"]

CANDIDATE = "rank"
METRIC = "ndcg_at_10"
VERDICT_FILE = "verdict.json"


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Args:
        decision: promote, reject or inconclusive.
        reference: ``champion`` or the plain baseline that the candidate was compared with.
        effect: mean NDCG@10 gained over the reference, on the same users.
        interval: lower and upper end for the effect, covering 1 - alpha.
        p_value: of the paired two-sided permutation test.
        users: how many were compared.
        why: one sentence.
        candidate: the model that was judged.
        metric: what was compared.
        champion_version: the reference's version, None for a baseline.
    """

    decision: Decision
    reference: str
    effect: float
    interval: tuple[float, float]
    p_value: float
    users: int
    why: str
    candidate: str = CANDIDATE
    metric: str = METRIC
    champion_version: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields, as JSON holds them."""
        return {**asdict(self), "interval": list(self.interval)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Verdict:
        """Back from what :meth:`as_dict` gave."""
        low, high = value["interval"]
        return cls(**{**value, "interval": (low, high)})


def decide(per_user: Path, metrics: Path, params: GateParams) -> Verdict:
    """Compare the candidate with the champion or, while there is none, with the best plain baseline.

    Args:
        per_user: ``evaluate``'s per_user.parquet: user_id, model, ndcg_at_10.
        metrics: ``evaluate``'s metrics.json.
        params: section ``gate``.

    Raises:
        DataError: a file is unreadable, a model has no rows, or the two were scored on different users.
    """
    from pipelines.artifacts import read_json
    from pipelines.metrics.significance import compare

    document = read_json(metrics)
    reference, version = reference_model(document)
    candidate_scores, reference_scores = _paired(per_user, CANDIDATE, reference)
    comparison = compare(
        candidate_scores,
        reference_scores,
        seed=params.seed,
        resamples=params.resamples,
        confidence=1.0 - params.alpha,
    )
    decision, why = judge(comparison, reference, params, leaked=champion_saw_test_window(document))
    facts = _champion_facts(document)
    if facts.get("not_compared"):
        why += f"; champion version {facts.get('version')} cannot be compared: {facts['not_compared']}"
    return Verdict(
        decision=decision,
        reference=reference,
        effect=comparison.effect,
        interval=(comparison.low, comparison.high),
        p_value=comparison.p_value,
        users=comparison.users,
        why=why,
        champion_version=version,
    )


def judge(comparison: Comparison, reference: str, params: GateParams, *, leaked: bool) -> tuple[Decision, str]:
    """The decision and its reason, from a comparison."""
    gained = f"{METRIC} {comparison.effect:+.4f} against {reference} (p = {comparison.p_value:.2g})"
    significant = comparison.p_value < params.alpha
    if leaked:
        return "inconclusive", f"the champion was trained on events of the test window; {gained}"
    if significant and comparison.effect > 0 and comparison.effect >= params.min_effect:
        return "promote", gained
    if significant and comparison.effect <= 0:
        return "reject", f"worse: {gained}"
    if comparison.high < params.min_effect or (significant and comparison.effect < params.min_effect):
        return "reject", f"{gained}; {params.min_effect:g} is asked for"
    return "inconclusive", f"no significant difference: {gained}"


def reference_model(document: Mapping[str, Any]) -> tuple[str, str | None]:
    """The model to beat and its registered version: the champion, else the baseline with the highest NDCG@10.

    Raises:
        DataError: the metrics name neither a champion nor a baseline.
    """
    from pipelines.metrics.baselines import best_baseline

    models: Mapping[str, Mapping[str, Any]] = document.get("models") or {}
    for name, row in models.items():
        if row.get("kind") == "champion":
            version = _champion_facts(document).get("version")
            return name, None if version is None else str(version)
    best = best_baseline(models, METRIC)
    if best is None:
        raise DataError(
            f"the metrics hold no champion and no baseline, only {', '.join(models) or 'nothing'}",
            mend="evaluate marks each model's kind: baseline, model or champion",
        )
    return best, None


def champion_saw_test_window(document: Mapping[str, Any]) -> bool:
    """Whether ``evaluate`` found the champion to be trained on events of the test window."""
    return bool(_champion_facts(document).get("saw_test_window"))


def record_verdict(
    settings: Settings, parent_run_id: str, verdict: Verdict, *, version: str | None = None, report: Path | None = None
) -> None:
    """Keep a verdict in the books.

    Tags ``gate.*`` go on the run and on the model version, ``verdict.json`` and the report, with the verdict written
    into it, become artifacts of the run.

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
        if version is not None:
            existing(client, version)
            for name, value in tags.items():
                client.set_model_version_tag(MODEL, version, name, value)
        if report is not None and report.is_file():
            with tempfile.TemporaryDirectory() as folder:
                judged = Path(folder) / "report.html"
                judged.write_text(with_verdict(report.read_text(encoding="utf-8"), verdict), encoding="utf-8")
                client.log_artifact(parent_run_id, str(judged))


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The verdict as MLflow tags."""
    return {
        "gate.decision": verdict.decision,
        "gate.reference": verdict.reference,
        "gate.effect": f"{verdict.effect:.6f}",
        "gate.interval": f"{verdict.interval[0]:.6f}..{verdict.interval[1]:.6f}",
        "gate.p_value": f"{verdict.p_value:.6g}",
        "gate.users": str(verdict.users),
        "gate.why": verdict.why,
    }


def with_verdict(page: str, verdict: Verdict) -> str:
    """Insert the verdict at the head of the report's body."""
    low, high = verdict.interval
    cells = {
        "decision": verdict.decision,
        "compared with": verdict.reference
        + (f" (version {verdict.champion_version})" if verdict.champion_version else ""),
        f"{verdict.metric}, mean difference": f"{verdict.effect:+.4f}",
        "interval": f"{low:+.4f} to {high:+.4f}",
        "p-value": f"{verdict.p_value:.2g}",
        "users": f"{verdict.users:,}",
        "why": verdict.why,
    }
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in cells.items()
    )
    section = f'<section id="gate"><h2>Gate: {html.escape(verdict.decision)}</h2><table>{rows}</table></section>\n'
    start = page.find("<body")
    end = page.find(">", start) + 1 if start >= 0 else 0
    return page[:end] + "\n" + section + page[end:]


def _champion_facts(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What ``evaluate`` wrote about the champion: version, digest, saw_test_window."""
    facts = document.get("champion")
    return facts if isinstance(facts, Mapping) else {}


def _paired(per_user: Path, candidate: str, reference: str) -> tuple[Any, Any]:
    """Two float64 [num_users] arrays of NDCG@10, users in the candidate's order in the file.

    Never by the text of the ids: it depends on this machine's key, and resampling on the order.
    """
    import numpy as np
    import pyarrow.compute as pc

    from pipelines.artifacts import read_table

    table = read_table(per_user, ["user_id", "model", METRIC])
    scores = []
    for model in (candidate, reference):
        rows = table.filter(pc.equal(table["model"], model))
        if not rows.num_rows:
            known = [str(name) for name in pc.unique(table["model"]).to_pylist()]
            raise DataError(
                f"{per_user} has no rows of model {model!r}",
                mend=near_names(model, known) or "SHOPLOOM_NO_CACHE=1 shoploom run",
            )
        scores.append((rows["user_id"].to_pylist(), rows[METRIC].to_numpy().astype(np.float64)))
    (candidate_users, candidate_scores), (reference_users, reference_scores) = scores
    if sorted(candidate_users) != sorted(reference_users):
        raise DataError(
            f"{per_user}: {candidate!r} and {reference!r} were scored on different users",
            mend="SHOPLOOM_NO_CACHE=1 shoploom run",
        )
    rows_of = {user: row for row, user in enumerate(reference_users)}
    reference_scores = reference_scores[[rows_of[user] for user in candidate_users]]
    return candidate_scores, reference_scores

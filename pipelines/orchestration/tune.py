"""``shoploom tune``: fetch what a model is fitted on, try settings, book every trial, write the winner as a patch."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import ConfigError, RunError, ServiceError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.models.base import Model
    from pipelines.runs.run_commits import RunCommit
    from pipelines.tuning import Trial

PREPARED = ("history.parquet", "validation.parquet", "items.parquet", "users.parquet", "split.json")
"""Of ``prepare``'s outputs, those that a trial may read; the test window is not fetched."""
METRICS = ("ndcg_at_10", "ndcg_at_10_new")


def tune_model(
    settings: Settings, name: str, *, trials: int, metric: str = METRICS[0], tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Look for better settings of a model on the validation window of the newest run's data.

    Args:
        settings: places and addresses.
        name: of the model.
        trials: in all; those of earlier calls on the same data count.
        metric: one of :data:`METRICS`.
        tell: called with a line as each trial ends.

    Returns:
        ``model``, ``metric``, ``before``, ``best``, ``parameters``, ``trials`` by state, ``patch`` (a file that
        ``git apply`` takes, or None where nothing better was found), ``mlflow_run``.

    Raises:
        ConfigError: there is no such model, or it has nothing to tune, or ``params.yaml`` is wrong.
        RunError: there is no finished run yet, or its outputs are lost.
        ServiceError: the same model is being tuned in this state folder.
    """
    from pipelines.models.found import model_named
    from pipelines.runs.run_commits import list_runs

    kind = model_named(name)
    if not kind.spans:
        raise ConfigError(f"model {name!r} states nothing to tune", mend=f"give its class spans: {kind.__module__}")
    runs = list_runs(settings)
    if not runs:
        raise RunError("there is no finished run, whose data could be tuned on", mend="shoploom run")
    folder = settings.home / "tune" / name
    with _alone(folder):
        _fetch(settings, runs[0], kind, folder)
        shutil.copyfile(settings.repository / "params.yaml", folder / "params.yaml")
        with chdir(folder):
            return _tune(settings, kind, runs[0], trials, metric, tell or (lambda line: None))


def _tune(
    settings: Settings, kind: type[Model], run: RunCommit, trials: int, metric: str, tell: Callable[[str], None]
) -> dict[str, Any]:
    from pipelines.params import load_params
    from pipelines.registry.trials import close_study, log_trial, open_study
    from pipelines.tuning import Plan, read_material, study_name, tune

    now = load_params(kind.Settings, str(kind.stage))
    material = read_material(kind)
    study = study_name(material, now, metric)
    about = {"model": kind.name, "metric": metric, "run_commit": run.commit, "data_version": run.data_commit}
    parent = open_study(settings, study, about)
    best = [0.0]

    def observe(trial: Trial) -> None:
        log_trial(settings, parent, trial)
        best[0] = max(best[0], trial.measures[-1][metric] if trial.state == "finished" else 0.0)
        tell(_line(trial, metric, best[0]))

    try:
        tuned = tune(material, now, Plan(trials, metric, settings.home / "tune" / f"{kind.name}.db"), observe)
    except BaseException:
        close_study(settings, parent, {}, "FAILED")
        raise
    better = tuned.before is None or tuned.best > tuned.before
    outcome = {
        "model": kind.name,
        "metric": metric,
        "before": tuned.before,
        "best": tuned.best,
        "parameters": tuned.parameters,
        "trials": tuned.counts,
        "patch": str(_write_patch(settings, kind, tuned.parameters)) if better else None,
        "mlflow_run": parent,
    }
    close_study(settings, parent, {"best": tuned.best, "parameters": tuned.parameters})
    return outcome


def draw_tuned(outcome: dict[str, Any], console: Console) -> None:
    """A few lines: what was found, and how to take it over."""
    counts = outcome["trials"]
    before = "none" if outcome["before"] is None else f"{outcome['before']:.4f}"
    console.print(f"{outcome['model']}: {outcome['metric']} {before} -> {outcome['best']:.4f} on the validation window")
    console.print(f"  trials  {counts['finished']} finished, {counts['pruned']} given up, {counts['failed']} failed")
    if outcome["patch"] is None:
        console.print("  nothing better than what is set was found")
        return
    for name, value in outcome["parameters"].items():
        console.print(f"  {name}: {value}", markup=False)
    console.print(f"  take it over: git apply {outcome['patch']}", soft_wrap=True, markup=False)


def _line(trial: Trial, metric: str, best: float) -> str:
    tried = "  ".join(f"{name} {value:.4g}" for name, value in trial.parameters.items())
    found = f"{trial.measures[-1][metric]:.4f}" if trial.measures else "-"
    how = {"finished": f"best {best:.4f}", "pruned": "given up", "failed": "failed"}[trial.state]
    return f"  trial {trial.number:3}  {tried}  {metric} {found}  {how}  {trial.seconds:.0f} s"


def _fetch(settings: Settings, run: RunCommit, kind: type[Model], folder: Path) -> None:
    """Copy a run's outputs that a trial reads into ``folder``; what is there of the same run stays."""
    from pipelines.models.found import model_named
    from pipelines.runs.run_commits import fetch_output

    needed = [f"data/prepared/{name}" for name in PREPARED]
    needed += [f"data/{model_named(name).stage}/validation" for name in kind.needs]
    needed += ["data/train_bert/texts.safetensors"] if kind.reads_texts else []
    note = folder / "fetched"
    if note.is_file() and note.read_text(encoding="utf-8") == run.commit:
        return
    shutil.rmtree(folder / "data", ignore_errors=True)
    for path in needed:
        fetch_output(settings, run, path, folder / path)
    note.write_text(run.commit, encoding="utf-8")


def _write_patch(settings: Settings, kind: type[Model], parameters: dict[str, float]) -> Path:
    from pipelines.artifacts import atomic_file
    from pipelines.params_patch import patch, patched

    before = (settings.repository / "params.yaml").read_text(encoding="utf-8")
    path = settings.home / "tune" / f"{kind.name}.patch"
    with atomic_file(path) as temporary:
        temporary.write_text(patch(before, patched(before, str(kind.stage), parameters)), encoding="utf-8")
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = f"model {folder.name!r} is being tuned in this state folder"
            raise ServiceError(said, mend="wait until it ends") from None
        yield
    finally:
        os.close(descriptor)

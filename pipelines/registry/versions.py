"""What the registry and the books hold of a version: for lineage, cards and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.artifacts import read_json
from pipelines.errors import DataError, RegistryError, near_names
from pipelines.registry.books import stage_runs
from pipelines.registry.gate_verdict import VERDICT_FILE
from pipelines.registry.records import records
from pipelines.registry.store import CHAMPION, MODEL, at_alias, connect, translated
from pipelines.registry.summary import damaged, read_artifact
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of the registered model, as the registry has it.

    Args:
        version: its number, as MLflow spells it.
        created: when it was registered, in seconds since the epoch.
        digest: of its package; empty where an older shoploom wrote none.
        run_commit: of the run that made it; empty as well.
        data_version: the data commit; empty as well.
        code_commit: the code commit; empty as well.
        mlflow_run: the parent run's id in the books.
        aliases: that point at it now.
        tags: all others: metrics, the gate's verdict, overrides.
    """

    version: str
    created: int
    digest: str
    run_commit: str
    data_version: str
    code_commit: str
    mlflow_run: str
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Booked:
    """What the books say of a stage: how long, on what machine, and whether its outputs were found.

    Args:
        seconds: of the command; 0 where cached.
        cached: whether its outputs were found.
        made_by: the MLflow run that computed them; empty where this one did.
        machine: of :func:`pipelines.machine.describe_machine`; empty where an older shoploom noted none.
    """

    seconds: float
    cached: bool
    made_by: str
    machine: dict[str, str]


def registered_version(settings: Settings, version: str) -> RegisteredVersion:
    """One version, by its number or an alias (``champion``).

    Raises:
        RegistryError: MLflow does not answer or has no such version; near names are suggested.
    """
    found = registered_versions(settings)
    by_name = {one.version: one for one in found} | {alias: one for one in found for alias in one.aliases}
    if version in by_name:
        return by_name[version]
    listed = f"there are {', '.join(by_name)}" if by_name else "shoploom run registers the first"
    raise RegistryError(f"model {MODEL} has no version {version!r}", mend=near_names(version, by_name) or listed)


def registered_versions(settings: Settings) -> list[RegisteredVersion]:
    """Every version, oldest first.

    Raises:
        RegistryError: MLflow does not answer.
    """
    with records(settings) as known:
        if known is not None:
            return known.versions()
    client = connect(settings)
    with translated(settings):
        found = list(_pages(client))
        aliases = _aliases(client)
    versions = [
        version_of(str(one.version), one.creation_timestamp, one.run_id, one.tags, aliases.get(str(one.version), ()))
        for one in found
    ]
    return sorted(versions, key=lambda one: int(one.version))


def verdict_of(settings: Settings, version: RegisteredVersion) -> dict[str, Any] | None:
    """The gate's verdict on a version, or None where the books have none.

    Raises:
        RegistryError: MLflow does not answer, or the verdict is damaged.
    """
    with records(settings) as known:
        path = known.artifact(version.mlflow_run, VERDICT_FILE) if known is not None else None
    if path is not None:
        try:
            kept: dict[str, Any] | None = read_json(path) if path.is_file() else None
        except DataError as error:
            raise damaged(VERDICT_FILE, version.mlflow_run, error) from error
        return kept
    client = connect(settings)
    with translated(settings):
        verdict: dict[str, Any] | None = read_artifact(client, version.mlflow_run, VERDICT_FILE)
        return verdict


def keep_beside(settings: Settings, version: RegisteredVersion, files: Mapping[str, str]) -> None:
    """Keep texts among the artifacts of the run that registered a version, over what is there of their names.

    Raises:
        RegistryError: MLflow does not answer.
    """
    client = connect(settings)
    with translated(settings):
        for name, text in files.items():
            client.log_text(version.mlflow_run, text, name)


def booked_stages(settings: Settings, version: RegisteredVersion) -> dict[str, Booked]:
    """Stage -> what the books say of it, in the run that made a version."""
    with records(settings) as known:
        tagged = known.stage_tags(version.mlflow_run) if known is not None else None
    if tagged is None:
        tagged = {stage: run.data.tags for stage, run in stage_runs(settings, version.mlflow_run).items()}
    return {stage: _booked(tags) for stage, tags in tagged.items()}


def _booked(tags: Mapping[str, str]) -> Booked:
    machine = {name.removeprefix("machine."): text for name, text in tags.items() if name.startswith("machine.")}
    return Booked(float(tags.get("seconds", 0.0)), tags.get("cached") == "true", tags.get("made_by", ""), machine)


def _pages(client: MlflowClient) -> Any:
    token = None
    while True:
        page = client.search_model_versions(f"name='{MODEL}'", max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _aliases(client: MlflowClient) -> dict[str, list[str]]:
    if at_alias(client, CHAMPION) is None:
        return {}
    held: dict[str, list[str]] = {}
    for alias, number in client.get_registered_model(MODEL).aliases.items():
        held.setdefault(str(number), []).append(alias)
    return held


def version_of(
    version: str, created: int | None, run_id: str | None, tags: Mapping[str, str] | None, aliases: Iterable[str]
) -> RegisteredVersion:
    """A version of what the registry holds of it; ``created`` in milliseconds since the epoch."""
    rest = dict(tags or {})
    names = ("package_digest", "run_commit", "data_version", "code_commit")
    digest, run, data, code = (rest.pop(name, "") for name in names)
    seconds = int(created or 0) // 1000
    return RegisteredVersion(version, seconds, digest, run, data, code, run_id or "", tuple(sorted(aliases)), rest)

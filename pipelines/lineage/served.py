"""Lineage of one answer: from a request's id to the model that gave it, to whoever let that out, to its run and data.

The server's state is only read. It holds which version answered (:mod:`pipelines.serving.state.answered`), for as many
days as ``SHOPLOOM_ANSWERS_DAYS`` says, and of items that a page reported as seen what ranked them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import RegistryError, RunError
from pipelines.lineage.graph import Missing, ModelLineage, version_lineage
from pipelines.lineage.history import history
from pipelines.lineage.reigns import Reign, reigns
from pipelines.registry.versions import RegisteredVersion, registered_version
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.serving.state.answered import Answered

_OTHER_MODEL = "somebody renumbered the registry: compare with a copy of MLflow's database"


@dataclass(frozen=True)
class ServedItem:
    """An item that the page reported as seen: its place, and the model's score and whatever else ranked it."""

    position: int
    item_id: str
    placement: str
    features: dict[str, float]


@dataclass(frozen=True)
class ServedAnswer:
    """An answer to a request of the id.

    Args:
        route: that was asked; the placement, where only what was seen of it is known.
        answered: when, in seconds since the epoch.
        version: that answered.
        run_commit: of the run that made it; empty where only what was seen of it is known.
        override: why that version was let out although something was refused; empty.
        reign: how the version became champion before that; None where the audit log does not say.
    """

    route: str
    answered: float
    version: str
    run_commit: str
    override: str = ""
    reign: Reign | None = None


@dataclass(frozen=True)
class ServedLineage:
    """All that stands behind an answer.

    Args:
        request_id: of the answer.
        answers: oldest first; more than one where a client used an id again.
        items: that were reported as seen.
        models: of the answers, each once.
        missing: what could not be told.
    """

    request_id: str
    answers: tuple[ServedAnswer, ...]
    items: tuple[ServedItem, ...]
    models: tuple[ModelLineage, ...]
    missing: tuple[Missing, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def served_lineage(settings: Settings, request_id: str) -> ServedLineage:
    """Trace an answer.

    Args:
        settings: the server's state, the registry, the repository and the object store.
        request_id: as the answer names it.

    Raises:
        StateError: there is no state, it cannot be read, or an older shoploom wrote it.
        RunError: the state knows no such answer.
    """
    answers, items = _noted(settings, request_id)
    if not answers:
        raise RunError(
            f"the server's state has no answer {request_id!r}",
            mend=f"it keeps answers for {settings.answers_days} days (SHOPLOOM_ANSWERS_DAYS), a second after they were "
            "given, and none of failed requests; the server's log has a line of each",
        )
    missing: list[Missing] = []
    versions = {name: _version(settings, name, answers, missing) for name in {one.version: None for one in answers}}
    models = tuple(version_lineage(settings, version) for version in versions.values() if version is not None)
    known = reigns(history(settings, missing))
    gaps = (gap for model in models for gap in model.missing)
    return ServedLineage(
        request_id=request_id,
        answers=tuple(_explained(one, versions[one.version], known) for one in answers),
        items=items,
        models=models,
        missing=tuple(dict.fromkeys([*missing, *gaps])),
    )


def _noted(settings: Settings, request_id: str) -> tuple[list[ServedAnswer], tuple[ServedItem, ...]]:
    """What the state has of the request."""
    from pipelines.serving.state.answered import answers_of
    from pipelines.serving.state.database import Database
    from pipelines.serving.state.errors import in_our_words
    from pipelines.serving.state.exposures import exposures_of
    from pipelines.serving.state.migrate import check_readable

    database = Database(settings.serving_state, read_only=True)
    try:
        check_readable(database)
        with in_our_words(database.place), database.snapshot() as connection:
            answers, exposures = answers_of(connection, request_id), exposures_of(connection, request_id)
    finally:
        database.close()
    items = tuple(ServedItem(one.position, one.item_id, one.placement, dict(one.features)) for one in exposures)
    found = [_answer(one) for one in answers]
    if not found and exposures:
        seen = exposures[0]
        found = [ServedAnswer(seen.placement, seen.shown.timestamp(), seen.model_version, "")]
    return found, items


def _answer(noted: Answered) -> ServedAnswer:
    return ServedAnswer(noted.route, noted.answered.timestamp(), noted.model_version, noted.run_commit)


def _version(
    settings: Settings, name: str, answers: Iterable[ServedAnswer], missing: list[Missing]
) -> RegisteredVersion | None:
    """The version that answered; where the registry has lost it, what the state and git know of it."""
    noted = next((one.run_commit for one in answers if one.version == name and one.run_commit), "")
    try:
        found = registered_version(settings, name)
    except RegistryError as error:
        missing.append(Missing(f"version {name} is not in the registry: {error.message}", error.mend))
        return RegisteredVersion(name, 0, "", noted, "", "", "") if noted else None
    if noted and found.run_commit != noted:
        told = f"the server noted run {noted[:12]} for version {name}, and the registry has {found.run_commit[:12]}"
        missing.append(Missing(told, _OTHER_MODEL))
        return RegisteredVersion(name, 0, "", noted, "", "", "")
    return found


def _explained(answer: ServedAnswer, version: RegisteredVersion | None, known: Iterable[Reign]) -> ServedAnswer:
    before = [one for one in known if one.version == answer.version and one.start <= answer.answered]
    override = version.tags.get("override", "") if version else ""
    return ServedAnswer(**{**vars(answer), "override": override, "reign": before[-1] if before else None})

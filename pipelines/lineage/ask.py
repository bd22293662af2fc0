"""``shoploom lineage TARGET``: which kind of thing is asked about, and how the answer is put."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ConfigError, RunError, near_names
from pipelines.lineage.display import draw_model, draw_partition, draw_served
from pipelines.lineage.graph import Missing, ModelLineage, model_lineage
from pipelines.lineage.proof import Membership, membership
from pipelines.lineage.served import ServedLineage, served_lineage
from pipelines.lineage.trace import PartitionLineage, partition_lineage
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

Lineage = ModelLineage | PartitionLineage | ServedLineage

KINDS: dict[str, Callable[[Settings, str], Lineage]] = {
    "model": model_lineage,
    "partition": partition_lineage,
    "served": served_lineage,
}
"""What a target may begin with, before the colon."""


def lineage_of(settings: Settings, target: str) -> Lineage:
    """Trace ``model:7``, ``model:champion``, ``partition:2017-W12`` or ``served:REQUEST_ID``.

    Raises:
        ConfigError: the target is of no known kind.
        RunError: there is no such thing; near names are suggested.
        RegistryError: MLflow does not answer, or has no such version.
        StateError: the server's state cannot be read.
    """
    kind, colon, name = target.partition(":")
    if not colon or kind not in KINDS or not name:
        listed = f"one of {', '.join(f'{known}:NAME' for known in KINDS)}"
        near = "" if kind in KINDS else near_names(kind, KINDS)
        raise ConfigError(f"{target!r} is nothing to trace", mend=near or listed)
    return KINDS[kind](settings, name)


def prove_row(settings: Settings, target: str, event_id: str) -> Membership:
    """Whether the model of a target was trained on an event.

    Raises:
        ConfigError: the target is no model.
        RunError, RegistryError: as :func:`pipelines.lineage.proof.membership`.
    """
    return membership(settings, model_of(target), event_id)


def model_of(target: str) -> str:
    """The number or alias in ``model:7``.

    Raises:
        ConfigError: the target is no model.
    """
    kind, _, name = target.partition(":")
    if kind != "model" or not name:
        raise ConfigError(f"{target!r} is no model", mend="name one as model:7 or model:champion")
    return name


def draw_membership(found: Membership, console: Console) -> None:
    """Print whether a model was trained on an event."""
    from rich.text import Text

    proof, (first, last) = found.proof, found.partitions
    told = "is among" if proof.present else "is NOT among"
    lines = (
        f"event {proof.name!r} {told} the {proof.count:,} events, {first} to {last}, that version {found.version} was "
        "trained on",
        f"root {proof.root}, named by run commit {found.run_commit[:12]}",
        f"--json gives the proof; python infra/verify_proof.py PROOF.json {proof.root[:12]}... checks it alone",
    )
    console.print(Text("\n".join(lines)), soft_wrap=True)


def draw(lineage: Lineage, console: Console, everything: bool = False) -> None:
    """Print a lineage as a tree."""
    if isinstance(lineage, ModelLineage):
        draw_model(lineage, console, everything)
    elif isinstance(lineage, ServedLineage):
        draw_served(lineage, console, everything)
    else:
        draw_partition(lineage, console, everything)


def write_page(lineage: Lineage, file: Path) -> None:
    """Write a lineage as a page that needs nothing beside it."""
    from datetime import UTC, datetime
    from importlib.metadata import version

    from pipelines.artifacts import atomic_file
    from pipelines.lineage.page import page
    from pipelines.lineage.picture import picture_of

    made = f"shoploom {version('shoploom')}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    content = page(picture_of(lineage), made)
    with atomic_file(file) as temporary:
        temporary.write_text(content, encoding="utf-8")


def tell(settings: Settings, lineage: Lineage, target: str) -> int:
    """Tell of a model's run as OpenLineage events, to a file or a server; returns how many.

    Raises:
        ConfigError: the lineage is of no model, or the target is none.
        RunError: the run is gone, or the server does not take them.
    """
    from pipelines.lineage.openlineage import events_of, send

    if not isinstance(lineage, ModelLineage):
        raise ConfigError("what was asked about is no model", mend="name one as model:7 or model:champion")
    return send(events_of(settings, lineage), target)


def refuse_gaps(missing: Sequence[Missing]) -> None:
    """End with an error, once all that there is was shown, where something was not.

    Raises:
        RunError: names the first thing that is missing.
    """
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise RunError(f"what is shown is not whole: {missing[0].what}{more}", mend=missing[0].mend)

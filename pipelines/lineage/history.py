"""What the audit log says, for whoever tells of it: git's copies where the log is lost, and a note that it is."""

from __future__ import annotations

from pipelines.lineage.anchors import entries
from pipelines.lineage.audit import Entry, log_path, read_lines
from pipelines.lineage.graph import Missing
from pipelines.settings import Settings


def history(settings: Settings, missing: list[Missing]) -> list[Entry]:
    """Every entry, oldest first.

    Args:
        settings: the state folder and the repository.
        missing: gets a note where the log is lost and git's copies are told in its place.

    Raises:
        RunError: git does not answer.
    """
    found = entries(settings)
    if found and not read_lines(settings):
        told = f"the audit log {log_path(settings)} is lost; what git has a copy of is told"
        missing.append(Missing(told, "shoploom audit restore writes it again from git's copy"))
    return found

"""``shoploom expectations propose``: bounds for a person to take over, from profiles of what was accepted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import DataError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


def propose_bounds(settings: Settings) -> dict[str, Any]:
    """Propose bounds from the newest data version.

    Returns:
        ``data_version``, ``partitions`` (how many were profiled), ``proposals`` (section, key, value and why) and
        ``fragment`` (the same as YAML).

    Raises:
        DataError: nothing was landed yet, or this machine has neither profiles nor files of it.
    """
    from expectations.catalogues import catalogue_profile
    from expectations.profiles import ProfileCache
    from expectations.proposals import as_yaml, propose
    from pipelines.artifacts import read_table
    from pipelines.monitoring.windows import Landed, Profiles
    from pipelines.params import DistributionParams, load_params
    from pipelines.runs.accepted import accepted_history

    found = accepted_history(settings)
    landed, folder = Landed.of(found), settings.home / "profiles"
    profiles = Profiles(landed, folder)
    known = [profile for name in landed.in_order() if (profile := profiles.get(name)) is not None]
    if not known:
        raise DataError("nothing that was accepted is known on this machine", mend="shoploom ingest")
    catalogue = ProfileCache(folder).get_catalogue(landed.items)
    if catalogue is None and landed.items in landed.paths:
        catalogue = catalogue_profile(read_table(Path(landed.paths[landed.items])))
    params = load_params(DistributionParams, "distribution", settings.repository / "params.yaml")
    proposals = propose(known, catalogue, params)
    return {
        "data_version": found["commit"],
        "partitions": len(known),
        "proposals": [one.as_dict() for one in proposals],
        "fragment": as_yaml(proposals),
    }


def draw_proposals(result: dict[str, Any], console: Console) -> None:
    """The fragment as it is, to be redirected into a file."""
    console.print(result["fragment"], markup=False, soft_wrap=True, end="")

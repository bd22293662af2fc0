"""The champion's package on this machine: kept by digest, fetched from MLflow, or made again from its run's outputs."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import RegistryError, ShoploomError
from pipelines.registry.promotion import Champion
from pipelines.settings import Settings

PACKAGE = "data/package"
"""The stage output that a registered model holds."""


def champion_package(settings: Settings, champion: Champion) -> Path:
    """Find the champion's package, every byte checked against the registered digest.

    MLflow's copy comes first. When it is lost or changed, the run that made the champion still has its own in DVC.

    Raises:
        RegistryError: neither holds these bytes any more.
    """
    try:
        return champion.kept_package()
    except RegistryError as lost:
        try:
            return _from_run(settings, champion)
        except ShoploomError as error:
            raise RegistryError(
                f"the package of version {champion.version} is lost: {lost.message}; and its run: {error.message}",
                mend="shoploom rollback returns to the version before",
            ) from error


def _from_run(settings: Settings, champion: Champion) -> Path:
    from pipelines.registry.digests import package_digest
    from pipelines.runs.run_commits import fetch_output, find_run

    kept = champion.kept_folder
    fetch_output(settings, find_run(settings, champion.run), PACKAGE, kept)
    found = package_digest(kept)
    if found != champion.digest:
        raise RegistryError(f"the run's package has digest {found[:12]}, registered was {champion.digest[:12]}")
    return kept

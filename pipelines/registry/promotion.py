"""The alias ``champion``: who holds it, who held it before, and how it moves."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import RegistryError
from pipelines.registry.digests import package_digest
from pipelines.registry.store import CHAMPION, MODEL, PREVIOUS, at_alias, connect, existing, translated
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.registry.gate_verdict import Verdict

PACKAGE_PATH = "artifacts/package"
"""Where a registered model keeps the package."""
OVERRIDE = "override"
"""Tag of a version that was let out although something was refused: the reason."""
ROLLED_BACK = "rolled_back"
"""Tag of a version that a person took the alias from."""


@dataclass(frozen=True)
class Champion:
    """A registered version of the model.

    Args:
        version: its number, as MLflow spells it.
        digest: of its package.
        run: the run commit that made it; empty when unknown.
        data_version: the data commit it was trained on.
        settings: the registry it lies in.
        override: why it was let out although something was refused; empty where nothing was.
    """

    version: str
    digest: str
    run: str
    data_version: str
    settings: Settings = field(repr=False, compare=False)
    override: str = ""

    def fetch_changed(self, destination: Path) -> Path:
        """Download the package as it is, for whoever says what was changed in it; never for serving.

        Raises:
            RegistryError: the artifacts are unreachable.
        """
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as folder:
            fetched = _download(self.settings, self.version, PACKAGE_PATH, Path(folder))
            if destination.exists():
                shutil.rmtree(destination)
            fetched.rename(destination)
        return destination

    def fetch_package(self, destination: Path) -> Path:
        """Download the package to ``destination``, which is replaced only by a package with the right digest.

        Raises:
            RegistryError: the artifacts are unreachable, or their digest is not the registered one.
        """
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as folder:
            fetched = _download(self.settings, self.version, PACKAGE_PATH, Path(folder))
            found = package_digest(fetched)
            if found != self.digest:
                raise RegistryError(
                    f"version {self.version}: the package has digest {found[:12]}, registered was {self.digest[:12]}",
                    mend="the artifact store was changed: do not serve it; shoploom rollback returns to the previous",
                )
            if destination.exists():
                shutil.rmtree(destination)
            fetched.rename(destination)
        return destination

    @property
    def kept_folder(self) -> Path:
        """Where this machine keeps the package."""
        return self.settings.home / "champions" / self.digest

    def kept_package(self) -> Path:
        """The package in the state folder, fetched once; a kept copy whose bytes changed is fetched again.

        Raises:
            RegistryError: as :meth:`fetch_package`.
        """
        kept = self.kept_folder
        if not kept.is_dir() or package_digest(kept) != self.digest:
            self.fetch_package(kept)
        return kept


@dataclass(frozen=True)
class Promotion:
    """What :func:`promote` or :func:`roll_back` did.

    Args:
        champion: the version that now holds the alias, None when there is none.
        previous: the version that held it before, None when there was none.
        moved: whether the alias moved.
        why: one sentence.
    """

    champion: str | None
    previous: str | None
    moved: bool
    why: str


def champion(settings: Settings) -> Champion | None:
    """The version that holds the alias ``champion``, or None.

    Raises:
        RegistryError: MLflow does not answer, or the version lacks its digest.
    """
    return _held(settings, CHAMPION)


def previous_champion(settings: Settings) -> Champion | None:
    """The version that was champion before the present one, or None."""
    return _held(settings, PREVIOUS)


def registered(settings: Settings, version: str) -> Champion:
    """A registered version, champion or not.

    Raises:
        RegistryError: MLflow does not answer, or there is no such version, or it lacks its digest.
    """
    client = connect(settings)
    with translated(settings):
        return _facts(settings, existing(client, version))


def put_forward(settings: Settings, version: str, why: str) -> Promotion:
    """Move the alias ``champion`` to a version because a person says so; whoever calls has verified it.

    Raises:
        RegistryError: MLflow does not answer, or there is no such version.
    """
    client = connect(settings)
    with translated(settings):
        candidate = existing(client, version)
        holder, earlier = at_alias(client, CHAMPION), at_alias(client, PREVIOUS)
        before = str(holder.version) if holder else None
        if before == str(candidate.version):
            previous = str(earlier.version) if earlier else None
            return Promotion(before, previous, moved=False, why=f"version {before} already is champion")
        client.set_model_version_tag(MODEL, version, ROLLED_BACK, "false")
        _move(client, version, before)
    return Promotion(version, before, moved=True, why=why)


def tag_override(settings: Settings, version: str, reason: str) -> None:
    """Show an override wherever the version is shown."""
    client = connect(settings)
    with translated(settings):
        client.set_model_version_tag(MODEL, version, OVERRIDE, reason)


def promote(settings: Settings, version: str, verdict: Verdict) -> Promotion:
    """Move the alias ``champion`` to ``version`` when the verdict says so; the old champion becomes ``previous``.

    A gate that ran dry moves nothing. A version that already is champion stays so. One that a person rolled back does
    not return by itself.

    Raises:
        RegistryError: MLflow does not answer, the version is missing, or the champion is no longer the one that the
            candidate was compared with.
    """
    client = connect(settings)
    with translated(settings):
        candidate = existing(client, version)
        holder, earlier = at_alias(client, CHAMPION), at_alias(client, PREVIOUS)
        before = str(holder.version) if holder else None
        obstacle = _obstacle(candidate, before, verdict)
        if obstacle:
            return Promotion(before, str(earlier.version) if earlier else None, moved=False, why=obstacle)
        if before != verdict.champion_version:
            raise RegistryError(
                f"the champion is version {before or 'none'}, but version {version} was compared with "
                f"{verdict.champion_version or verdict.reference}",
                mend="shoploom run compares it with the present champion",
            )
        _move(client, version, before)
    return Promotion(version, before, moved=True, why=verdict.why)


def roll_back(settings: Settings, version: str | None = None) -> Promotion:
    """Give the alias ``champion`` back to the previous version, or another; the present one becomes ``previous``.

    The version that loses the alias is tagged ``rolled_back``; a second call swaps the two again.

    Raises:
        RegistryError: MLflow does not answer, or there is no previous version.
    """
    client = connect(settings)
    with translated(settings):
        holder, earlier = at_alias(client, CHAMPION), at_alias(client, PREVIOUS)
        if holder is None or (earlier is None and version is None):
            raise RegistryError(
                "there is no previous champion to go back to", mend="shoploom status shows the champion"
            )
        wanted = earlier if version is None else existing(client, version)
        assert wanted is not None
        now, before = str(wanted.version), str(holder.version)
        if now == before:
            raise RegistryError(f"version {now} is champion already", mend="shoploom status shows the one before it")
        client.set_model_version_tag(MODEL, before, ROLLED_BACK, "true")
        client.set_model_version_tag(MODEL, now, ROLLED_BACK, "false")
        _move(client, now, before)
    return Promotion(now, before, moved=True, why=f"version {before} was rolled back")


def _obstacle(candidate: Any, before: str | None, verdict: Verdict) -> str | None:
    """Why the alias stays where it is, or None."""
    if before == str(candidate.version):
        return f"version {before} already is champion"
    if verdict.decision != "promote":
        return f"the gate says {verdict.decision}: {verdict.why}"
    if verdict.mode == "dry_run":
        return f"the gate ran dry: it says promote, and shoploom promote {candidate.version} does so"
    if (candidate.tags or {}).get(ROLLED_BACK) == "true":
        return f"version {candidate.version} was rolled back; only a person brings it back"
    return None


def _move(client: Any, version: str, before: str | None) -> None:
    """Point the aliases; ``previous`` first, so that the old champion is reachable at every moment."""
    if before is not None:
        client.set_registered_model_alias(MODEL, PREVIOUS, before)
        client.set_model_version_tag(MODEL, version, "replaced", before)
    client.set_registered_model_alias(MODEL, CHAMPION, version)


def _held(settings: Settings, alias: str) -> Champion | None:
    client = connect(settings)
    with translated(settings):
        holder = at_alias(client, alias)
        return None if holder is None else _facts(settings, holder)


def _facts(settings: Settings, version: Any) -> Champion:
    tags = version.tags or {}
    if not tags.get("package_digest"):
        raise RegistryError(
            f"version {version.version} carries no package digest: shoploom did not register it",
            mend="shoploom run registers and promotes one that does",
        )
    return Champion(
        version=str(version.version),
        digest=tags["package_digest"],
        run=tags.get("run_commit", ""),
        data_version=tags.get("data_version", ""),
        settings=settings,
        override=tags.get(OVERRIDE, ""),
    )


def _download(settings: Settings, version: str, path: str, folder: Path) -> Path:
    """Fetch one artifact folder of a version into ``folder``."""
    import mlflow.artifacts

    client = connect(settings)
    with translated(settings):
        root = client.get_model_version_download_uri(MODEL, version)
        address = settings.tracking
        return Path(
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"{root.rstrip('/')}/{path}", dst_path=str(folder), tracking_uri=address
            )
        )

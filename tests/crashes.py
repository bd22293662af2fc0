"""Trials of what a state keeps: its writer killed, or the power cut under it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipelines.serving.state import State
from tests.state_database import RING

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Trial:
    """What a crash left.

    Args:
        acknowledged: events that the writer was told are durable.
        lost: of these, how many are not there.
        twice: ids that are there more than once.
    """

    acknowledged: int
    lost: int
    twice: int


@contextmanager
def streaming(address: str, log: Path, name: str, synchronous: str = "FULL") -> Iterator[subprocess.Popen[bytes]]:
    """A writer under way; killed at the end, if it still runs."""
    command = [sys.executable, "-m", "tests.state_writer", address, str(log), name, synchronous]
    writer = subprocess.Popen(command, cwd=ROOT)
    try:
        yield writer
    finally:
        writer.kill()
        writer.wait()


def wait_for(writer: subprocess.Popen[bytes], log: Path, more: int) -> None:
    """Wait until a writer has had some more events acknowledged."""
    before = len(acknowledged(log))
    deadline = time.monotonic() + 60
    while len(acknowledged(log)) < before + more:
        assert writer.poll() is None, "the writer ended by itself"
        assert time.monotonic() < deadline, "the writer does not get on"
        time.sleep(0.01)


def kill(address: str, log: Path, name: str, more: int) -> None:
    """``kill -9`` a writer after some more events."""
    with streaming(address, log, name) as writer:
        wait_for(writer, log, more)
        os.kill(writer.pid, signal.SIGKILL)


def cut_power(folder: Path, more: int, synchronous: str = "FULL") -> Trial:
    """Let a writer work on a file system in an image, stop it, and look at a copy of the image as a disk would hold it.

    Args:
        folder: empty, for the image and its copy.
        more: events after which the power is cut.
        synchronous: SQLite's level.
    """
    image, copy, mounted, log = (folder / name for name in ("disk", "copy", "mounted", "acknowledged"))
    make_disk(image, megabytes=48)
    with (
        mount(image, mounted),
        streaming(f"sqlite:///{mounted}/state.db", log, "event", synchronous) as writer,
    ):
        wait_for(writer, log, more)
        os.kill(writer.pid, signal.SIGSTOP)
        # What the file system has not yet written into its device is in no copy of it, as in no disk without power.
        shutil.copyfile(image, copy)
        promised = acknowledged(log)
    with mount(copy, mounted):
        return examine(f"sqlite:///{mounted}/state.db", promised)


def examine(address: str, promised: list[str]) -> Trial:
    """Open a state as a restarted server does, and look for what was acknowledged."""
    State.open(address, RING).close()
    engine = create_engine(make_url(address.replace("postgresql:", "postgresql+psycopg:")))
    with engine.connect() as connection:
        stored = list(connection.execute(text("SELECT event_id FROM events")).scalars())
    engine.dispose()
    return Trial(len(promised), len({*promised} - {*stored}), len(stored) - len({*stored}))


def acknowledged(log: Path) -> list[str]:
    """Ids of the events that were acknowledged."""
    return log.read_text().split("\n")[:-1] if log.exists() else []


def make_disk(image: Path, megabytes: int) -> None:
    """An empty ext4 file system in a file."""
    with image.open("wb") as stream:
        stream.truncate(megabytes << 20)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", str(image)], check=True)


@contextmanager
def mount(image: Path, place: Path, *options: str) -> Iterator[None]:
    """Mount an image (or ``tmpfs``), and take it off at the end."""
    place.mkdir(exist_ok=True)
    kind = ["-t", "tmpfs"] if image.name == "tmpfs" else ["-o", "loop"]
    subprocess.run(["mount", *kind, *options, str(image), str(place)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount: only root may, and not in every container."""
    image = folder / "probe"
    try:
        make_disk(image, 1)
        with mount(image, folder / "probed"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        image.unlink(missing_ok=True)

"""A real PostgreSQL server from Debian's packages, on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import free_port


def postgresql_is_installed() -> bool:
    """Whether Debian's package is here."""
    return bool(_binaries())


@contextmanager
def postgresql_server(*, durable: bool) -> Iterator[str]:
    """Start one, and stop it at the end; gives the address of a database that is yet to be made.

    Args:
        durable: whether it waits for the disk; tests that cut no power need not.
    """
    binaries = _binaries()[-1].parent
    # initdb refuses root, and pytest's own folder is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="shoploom-postgresql-", dir="/tmp"))
    as_server: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_server = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port = free_port()

    def server(program: str, *arguments: str) -> None:
        command = [*as_server, str(binaries / program), "--pgdata", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    server("initdb", "--username", "shoploom", "--auth", "trust", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync={'on' if durable else 'off'}"
    server("pg_ctl", "start", "--wait", "--silent", "--log", str(folder / "log"), "--options", options)
    try:
        yield f"postgresql://shoploom@127.0.0.1:{port}/shoploom"
    finally:
        server("pg_ctl", "stop", "--wait", "--silent", "--mode", "immediate")
        shutil.rmtree(folder)


def _binaries() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

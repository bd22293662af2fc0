"""One package behind the routes of ``shoploom serve``, to be measured and by nobody else asked.

    python -m pipelines.serving.on_trial PACKAGE TOLD

It listens on loopback, on a port that is free, with a state of its own in the folder of TOLD, a file that it writes
when it is ready: the address and the golden requests; or why it cannot serve. Nothing is scored ahead.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket

from threadpoolctl import threadpool_limits

from pipelines.artifacts import write_json
from pipelines.errors import ShoploomError
from pipelines.pseudonyms import KeyRing, open_ring
from pipelines.serving.answers import Provenance
from pipelines.serving.engine import Engine
from pipelines.serving.golden import check, requests
from pipelines.serving.logs import configure
from pipelines.serving.server import run
from pipelines.serving.service import Service
from pipelines.settings import Settings

LOOPBACK = "127.0.0.1"


class AsStored(KeyRing):
    """Leaves names as they are: who measures asks by what the package knows users by, and has no other name."""

    def pseudonym(self, raw: str | bytes) -> str:
        """The name itself."""
        return raw if isinstance(raw, str) else raw.decode()


def serve_on_trial(package: Path, told: Path) -> None:
    """Serve a package until told to end.

    Args:
        package: the folder.
        told: written once it is ready.

    Raises:
        ModelError: it cannot be read, or answers a golden request badly.
    """
    configure()
    threadpool_limits(1, user_api="blas")
    home = told.parent
    service = Service(Settings().model_copy(update={"state_folder": home, "state_url": None}))
    service.ring = AsStored(open_ring(home).secrets)
    service.open_state()
    engine = Engine.load(package, Provenance(version="on trial"))
    check(engine)
    service.engine = engine
    listening = socket()
    listening.bind((LOOPBACK, 0))
    listening.listen()  # who reads the address may ask at once, and waits in line
    port = int(listening.getsockname()[1])

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        write_json({"address": [LOOPBACK, port], "requests": requests(engine)}, told)
        yield
        service.threads.shutdown(wait=True)
        service.close()

    run(service, life, LOOPBACK, port, [listening])


def main() -> None:
    """Serve the package that the command line names."""
    package, told = (Path(argument) for argument in sys.argv[1:])
    try:
        serve_on_trial(package, told)
    except ShoploomError as error:
        write_json({"refused": error.message}, told)
        sys.exit(1)


if __name__ == "__main__":
    main()

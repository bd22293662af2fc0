"""``shoploom serve``: one process, one event loop, a few threads, on loopback unless keys guard it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from socket import socket
from types import FrameType

import uvicorn
from threadpoolctl import threadpool_limits

from pipelines.errors import ConfigError
from pipelines.ports import cannot_listen, holder, is_loopback
from pipelines.serving.access import Access
from pipelines.serving.app import create_app
from pipelines.serving.logs import configure, log
from pipelines.serving.rules import Rules
from pipelines.serving.service import Service
from pipelines.serving.watcher import Watcher
from pipelines.settings import Settings

SECONDS_TO_DRAIN = 20
Life = Callable[[], AbstractAsyncContextManager[None]]


class _Server(uvicorn.Server):
    """Says that it is about to end before it does."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)


def serve(settings: Settings, host: str, port: int, rules: Path | None) -> None:
    """Serve until told to end; requests under way are answered first.

    Args:
        settings: places.
        host: to listen on.
        port: to listen on.
        rules: YAML file of the shop's rules; none by default.

    Raises:
        ServiceError: another server uses the same state file.
        ConfigError: the rules are wrong, the address cannot be listened on, or it is not loopback and nothing guards
            it.
    """
    chosen = Rules.read(rules) if rules else Rules()
    check_free(host, port)
    configure()
    # Requests are small: threads of BLAS would only wait for each other.
    threadpool_limits(1, user_api="blas")
    service = Service(settings, Access(required=not is_loopback(host)))
    service.claim()
    service.open_state()
    if service.access.required and not _has_keys(service):
        service.close()
        raise ConfigError(
            f"{host} can be reached from other machines, and there are no API keys",
            mend="shoploom api-keys make NAME --scope read, or --host 127.0.0.1",
        )
    watcher = Watcher(service, chosen)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        watcher.start()
        service.ledger.start(lambda: service.memory.state if service.memory else None)
        yield
        watcher.stop()
        service.ledger.stop()
        service.threads.shutdown(wait=True)
        service.close()

    run(service, life, host, port)


def run(service: Service, life: Life, host: str, port: int, sockets: list[socket] | None = None) -> None:
    """Answer requests until told to end.

    Args:
        service: what the routes share.
        life: entered before the first request and left after the last.
        host: to listen on.
        port: to listen on.
        sockets: that listen already; they stand in for host and port.
    """
    config = uvicorn.Config(
        create_app(service, life),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_DRAIN,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=64 * 1024,
    )
    log().info("starting", address=f"http://{host}:{port}")
    try:
        _Server(config, service).run(sockets)
    except KeyboardInterrupt:
        log().info("stopped")


def check_free(host: str, port: int) -> None:
    """Find out that an address is taken before a champion is loaded for it.

    Raises:
        ConfigError: something listens there already, this machine has no such address, or it may not be listened on.
    """
    problem = cannot_listen(host, port)
    if problem:
        raise ConfigError(
            f"{host} port {port} cannot be listened on: {problem.strerror}{holder(port)}",
            mend="end what listens there, or name another with --port or --host",
        ) from problem


def _has_keys(service: Service) -> bool:
    """Whether some key could be used."""
    return any(key.revoked is None for key in service.remembering().state.keys.all())

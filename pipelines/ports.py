"""Which addresses are this machine's alone, which can be listened on, and who listens already."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from errno import EADDRNOTAVAIL
from socket import SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, getaddrinfo, socket

import psutil


def cannot_listen(host: str, port: int) -> OSError | None:
    """What keeps from listening; None where nothing does.

    A name may have more addresses than this machine; one of them is enough.
    """
    return next(_problems(host, port), None)


def _problems(host: str, port: int) -> Iterator[OSError]:
    try:
        addresses = getaddrinfo(host, port, type=SOCK_STREAM)
    except OSError as error:
        yield error
        return
    for family, kind, protocol, _, address in addresses:
        with socket(family, kind, protocol) as tried:
            tried.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            try:
                tried.bind(address)
            except OSError as error:
                if error.errno != EADDRNOTAVAIL or len(addresses) == 1:
                    yield error


def holder(port: int) -> str:
    """Who listens on a port, as far as this user may know: `` by process 12 (name)``, or nothing."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return ""


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Put this folder on PYTHONPATH, and no Python process reaches beyond this machine: attempts are refused and recorded.

Attempts are appended to the file named by ``SHOPLOOM_TEST_ATTEMPTS``.
"""

import ipaddress
import os
import socket
import sys

_OWN = {"localhost", "", socket.gethostname(), socket.gethostname().split(".")[0]}


def _is_local(host: "str | bytes | None") -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name is None or name in _OWN:
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_outbound(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        target = arguments[1]
        host = target[0] if isinstance(target, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        target = host = arguments[0]
    else:
        return
    if _is_local(host):
        return
    with open(os.environ["SHOPLOOM_TEST_ATTEMPTS"], "a", encoding="utf-8") as attempts:
        attempts.write(f"{event} {target} by {' '.join(sys.argv)[:300]}\n")
    raise PermissionError(f"outbound {event} to {target} is refused by the test")


if "SHOPLOOM_TEST_ATTEMPTS" in os.environ:
    sys.addaudithook(_refuse_outbound)

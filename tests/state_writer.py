"""A process that streams events into a state until it is killed, and notes each that was acknowledged.

python -m tests.state_writer ADDRESS ACKNOWLEDGED NAME [SYNCHRONOUS]
"""

from __future__ import annotations

import os
import sys
import threading

from pipelines.serving.state import State
from tests.state_database import RING, an_event

THREADS = 6


def main() -> None:
    address, acknowledged, name, *level = sys.argv[1:]
    state = State.open(address, RING, synchronous=level[0] if level else "FULL")
    log = os.open(acknowledged, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def stream(thread: int) -> None:
        for number in range(1_000_000):
            (receipt,) = state.events.append([an_event(f"{name}-{thread}-{number}")])
            os.write(log, f"{receipt.event_id}\n".encode())

    for thread in range(THREADS):
        threading.Thread(target=stream, args=(thread,)).start()


if __name__ == "__main__":
    main()

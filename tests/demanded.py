"""What Debian's packages bring and tests want: CI demands it, elsewhere such tests are skipped where it is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(what: str, package: str) -> NoReturn:
    """Fail the test where CI demands everything, else skip it."""
    message = f"no {what} here; on Debian: apt-get install {package}"
    if os.environ.get("SHOPLOOM_TEST_SERVICES") == "required":
        pytest.fail(message)
    pytest.skip(message)

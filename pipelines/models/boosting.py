"""LightGBM, of which nothing is used that needs scikit-learn."""

from __future__ import annotations

import sys
from types import ModuleType


def lightgbm() -> ModuleType:
    """LightGBM, without the two seconds in which it imports scikit-learn for classes that nothing here uses."""
    without = not {"lightgbm", "sklearn"} & sys.modules.keys()
    if without:
        # An import of what is None here fails, and LightGBM goes on without it.
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        import lightgbm as found
    finally:
        if without:
            del sys.modules["sklearn"]
    module: ModuleType = found
    return module

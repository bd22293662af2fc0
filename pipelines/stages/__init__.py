"""The stages of ``dvc.yaml``: one module each, of the same name, run as ``python -m pipelines.stages.<name>``.

Those that fit a model of behaviour share one: ``train_linear`` is ``python -m pipelines.stages.train linear``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from pipelines.errors import ShoploomError


def run_main(main: Callable[[], None]) -> None:
    """Run a stage's ``main``; a deliberate error becomes one clear message and exit status 1."""
    try:
        main()
    except ShoploomError as error:
        print(error, file=sys.stderr)
        sys.exit(1)

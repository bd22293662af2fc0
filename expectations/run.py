"""Running a contract with Great Expectations, in an ephemeral context of its own.

Every check is first asked for a count alone; the rows that fail are fetched only for checks that failed.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from expectations.contract import Check, Contract
from expectations.sorting import Reasons
from pipelines.errors import StageError

if TYPE_CHECKING:
    import pandas as pd

_SEVERITIES = {"stop": "critical", "reject": "warning", "warn": "info"}


class Validation:
    """A session of validations whose results end in one set of Data Docs."""

    def __init__(self) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        configured = DataContextConfig(store_backend_defaults=stores, analytics_enabled=False)
        self._context = gx.get_context(mode="ephemeral", project_config=configured)
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        self._assets = self._context.data_sources.add_pandas("shoploom")

    def run(self, contract: Contract, frame: pd.DataFrame) -> Reasons:
        """Check a frame.

        Args:
            contract: the suite.
            frame: holds every column that the checks look at; its index is 0..n-1.

        Returns:
            For each failed check the positions of all rows that fail it, ascending.

        Raises:
            StageError: Great Expectations could not compute a check; the message names it.
        """
        import great_expectations as gx

        name = contract.name
        batch = self._assets.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        suite = gx.ExpectationSuite(name, expectations=[_expectation(check) for check in contract.checks])
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=self._context.suites.add(suite))
        )
        summary = _by_check(
            definition.run(
                batch_parameters={"dataframe": frame},
                result_format={"result_format": "SUMMARY", "partial_unexpected_count": 5},
            ).results
        )
        failed = [check for check in contract.checks if not summary[check.name].success]
        if not failed:
            return {}
        details = batch.get_batch(batch_parameters={"dataframe": frame}).validate(
            gx.ExpectationSuite(f"{name} rows", expectations=[_expectation(check) for check in failed]),
            result_format={"result_format": "COMPLETE"},
        )
        found = _by_check(details.results)
        return {
            check.name: np.sort(np.asarray(found[check.name].result.get("unexpected_index_list") or [], np.int64))
            for check in failed
        }

    def build_docs(self, folder: Path) -> Path:
        """Write Data Docs of everything validated so far, in place of what ``folder`` held.

        Returns:
            The page to open.
        """
        shutil.rmtree(folder, ignore_errors=True)
        site = {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
        self._context.add_data_docs_site("shoploom", site)
        self._context.build_data_docs(site_names=["shoploom"])
        return folder / "index.html"


def _expectation(check: Check) -> Any:
    import great_expectations.expectations as gxe

    arguments = dict(check.arguments)
    if "column_A" not in arguments:
        arguments["column"] = check.subject or check.column
    kind = getattr(gxe, check.expectation)
    meta = {"check": check.name, "severity": check.severity}
    return kind(**arguments, meta=meta, description=check.meaning, severity=_SEVERITIES[check.severity])


def _by_check(results: list[Any]) -> dict[str, Any]:
    by_check = {}
    for result in results:
        name = result.expectation_config.meta["check"]
        raised = result.exception_info or {}
        if raised.get("raised_exception") or any(
            isinstance(part, dict) and part.get("raised_exception") for part in raised.values()
        ):
            raise StageError(f"Great Expectations could not compute the check {name!r}: {raised}")
        by_check[name] = result
    return by_check

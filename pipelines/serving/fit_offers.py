"""Fit how likely offers are redeemed, on the default source's real campaigns; later campaigns say how well.

python -m pipelines.serving.fit_offers [--out FILE]    does what ``shoploom offers fit`` does
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ConfigError
from pipelines.lineage.signed_file import signed_file
from pipelines.models.offer_history import known_at
from pipelines.models.propensity import Known, Propensity
from pipelines.serving.chances import model_path
from pipelines.settings import Settings

HELD_OUT = 0.4
"""Share of the redemptions, the latest, on which the model is measured that is fitted on those before."""


@dataclass(frozen=True)
class FitReport:
    """How well redemptions of later campaigns are told from what was known before.

    Args:
        path: the model, fitted on all campaigns.
        pairs: offers sent, one for each user.
        redemptions: of these.
        auc: on held-out campaigns: chance that a redeemed offer is ranked over one that was not.
        auc_of_lines: the same for the count of lines bought before, alone.
        expected_to_seen: redemptions that were expected there, over those that came.
    """

    path: str
    pairs: int
    redemptions: int
    auc: float
    auc_of_lines: float
    expected_to_seen: float

    def __str__(self) -> str:
        return (
            f"{self.redemptions:,} of {self.pairs:,} offers were redeemed. On later campaigns a redeemed one "
            f"is ranked over another with {self.auc:.3f}\n(by lines bought before alone with {self.auc_of_lines:.3f}), "
            f"and {self.expected_to_seen:.2f} times the redemptions that came are expected.\n"
            f"The model is in {self.path}, signed"
        )


def fit_offers(settings: Settings, out: Path | None = None) -> FitReport:
    """Fit, measure, write and sign the model.

    Args:
        settings: names the source, the state folder and the repository.
        out: where to; the state folder by default.

    Raises:
        ConfigError: the source has no campaigns that say who was sent what.
        TrustError: the signing key is missing.
        RunError: the audit log takes no entry.
    """
    import pandas as pd

    from pipelines.sources import load_source
    from pipelines.sources.calendars import midnight
    from pipelines.sources.campaigns import sent_offers
    from pipelines.sources.complete_journey import CompleteJourney

    source = load_source(settings.source.removeprefix("serving_events:"))
    if not isinstance(source, CompleteJourney):
        raise ConfigError(
            f"{source.name} does not say which offers were sent to whom", mend="export SHOPLOOM_SOURCE=complete_journey"
        )
    first, last = source.span()
    starts, ends = midnight(first, source.time_zone), midnight(last + timedelta(days=1), source.time_zone)
    purchases = source.events(starts, ends).select(["user_id", "item_id", "timestamp"]).to_pandas()
    sent = sent_offers(source.folder).to_pandas()
    known, redeemed, days = known_at(purchases, sent, source.offers().to_pandas(), pd.Timestamp(starts))
    path = out or model_path(settings.home)
    facts = {"source": source.name, "pairs": len(redeemed), "redemptions": int(redeemed.sum())}
    with signed_file(settings, path, **facts) as temporary:
        Propensity.fit(known, redeemed).save(temporary)
    return _measured(path, known, redeemed, days)


def _measured(path: Path, known: Known, redeemed: NDArray[np.bool_], days: NDArray[np.float64]) -> FitReport:
    from sklearn.metrics import roc_auc_score

    later = days >= np.quantile(days[redeemed], 1.0 - HELD_OUT)
    chances = Propensity.fit(_rows(known, ~later), redeemed[~later]).score(_rows(known, later))
    seen = redeemed[later]
    return FitReport(
        str(path),
        len(redeemed),
        int(redeemed.sum()),
        float(roc_auc_score(seen, chances)),
        float(roc_auc_score(seen, known.lines[later])),
        float(chances.sum() / seen.sum()),
    )


def _rows(known: Known, chosen: NDArray[np.bool_]) -> Known:
    return Known(*(values[chosen] for values in vars(known).values()))


def main() -> None:
    """Fit; print the report as JSON."""
    import json
    from dataclasses import asdict

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="where to write the model, its signature beside it; default: the state folder"
    )
    print(json.dumps(asdict(fit_offers(Settings(), parser.parse_args().out))))


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)

"""What Prometheus reads: latencies by route and step, which model, what the answers were like."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipelines.serving.answers import Provenance

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Figures:
    """The server's own figures; each server has its registry, so that several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "shoploom_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route", "status"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.steps = Histogram(
            "shoploom_step_seconds", "Parts of an answer.", ["step"], buckets=SECONDS, registry=self.registry
        )
        self.answers = Counter(
            "shoploom_answers", "Answers by what they were based on.", ["route", "based_on"], registry=self.registry
        )
        self.unrecorded = Counter(
            "shoploom_unrecorded_answers", "Answers that the ledger has no note of.", registry=self.registry
        )
        self.empty = Counter("shoploom_empty_answers", "Answers without a result.", ["route"], registry=self.registry)
        self.cold = Gauge(
            "shoploom_cold_share", "Share of answers to shoppers without a purchase.", registry=self.registry
        )
        self.empty_share = Gauge("shoploom_empty_share", "Share of answers without a result.", registry=self.registry)
        self.events = Counter("shoploom_events", "Events accepted, by type.", ["type"], registry=self.registry)
        self.offers = Counter(
            "shoploom_offers",
            "Offers given, given again, redeemed, released; and requests that got none.",
            ["outcome"],
            registry=self.registry,
        )
        self.offers_expected = Counter(
            "shoploom_offers_expected_value", "Sum of what offers given are expected to bring.", registry=self.registry
        )
        self.click_through = Gauge(
            "shoploom_click_through", "Views and carts of shown items per exposure.", registry=self.registry
        )
        self.model = Gauge(
            "shoploom_model_info", "The model that answers: always 1.", ["version", "run"], registry=self.registry
        )
        self.overridden = Gauge(
            "shoploom_model_overridden",
            "1 while the model that answers was let out by an override.",
            registry=self.registry,
        )
        self.model_age = Gauge(
            "shoploom_model_age_seconds", "Since the last event that the model learned from.", registry=self.registry
        )
        self.model_loaded = Gauge(
            "shoploom_model_loaded_timestamp_seconds", "When the model was swapped in.", registry=self.registry
        )
        self.swaps = Counter("shoploom_swaps", "Changes of model, by outcome.", ["outcome"], registry=self.registry)
        self.ready = Gauge("shoploom_ready", "1 while the server is ready.", registry=self.registry)
        self.warmed = Gauge("shoploom_warmed_users", "Users scored ahead.", registry=self.registry)
        self._answered, self._cold, self._empty, self._shown, self._clicked = 0, 0, 0, 0, 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a part of an answer."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.steps.labels(name).observe(time.perf_counter() - started)

    def answered(self, route: str, based_on: str, results: int) -> None:
        """Count an answer."""
        self.answers.labels(route, based_on).inc()
        self._answered += 1
        self._cold += "history" not in based_on
        if not results:
            self._empty += 1
            self.empty.labels(route).inc()
        self.cold.set(self._cold / self._answered)
        self.empty_share.set(self._empty / self._answered)

    def happened(self, kind: str, attributed: bool) -> None:
        """Count an event; ``attributed`` says that the item had been shown to the shopper."""
        self.events.labels(kind).inc()
        self._shown += kind == "exposure"
        self._clicked += attributed
        if self._shown:
            self.click_through.set(self._clicked / self._shown)

    def serves(self, provenance: Provenance, trained_until_days: float) -> None:
        """Note a new model.

        Args:
            provenance: which.
            trained_until_days: of its last event, days since the epoch.
        """
        self.model.clear()
        self.model.labels(provenance.version, provenance.run).set(1)
        self.overridden.set(bool(provenance.override))
        self.model_age.set_function(lambda: max(0.0, time.time() - trained_until_days * 86_400))
        self.model_loaded.set_to_current_time()

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)

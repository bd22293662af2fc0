"""The champion is watched: when the alias moves, its model is loaded aside, checked, and swapped in as a whole."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from pipelines.errors import ShoploomError
from pipelines.lineage.audit import record_once
from pipelines.lineage.verify import verify_version
from pipelines.pseudonyms import KeyRing
from pipelines.registry.promotion import Champion, champion
from pipelines.serving.answers import Provenance
from pipelines.serving.engine import Engine
from pipelines.serving.golden import check
from pipelines.serving.logs import log
from pipelines.serving.problems import public
from pipelines.serving.rules import Rules
from pipelines.serving.service import Service

EVERY_SECONDS = 1.0
"""Between two looks at the alias."""
AGAIN_SECONDS = 60.0
"""Before a version that was refused is tried again."""


class Watcher:
    """One thread that looks at the alias, and loads what it names.

    Args:
        service: whose engine is swapped.
        rules: the shop's own.
    """

    def __init__(self, service: Service, rules: Rules) -> None:
        self._service = service
        self._rules = rules
        self._ending = Event()
        self._thread = Thread(target=self._watch, name="watcher", daemon=True)
        self._refused: tuple[str, float] | None = None

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; returns when the thread has ended or is only loading something."""
        self._ending.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        with _unhindered():
            # What is imported for the first look stays, as the model does.
            warming = self._round()
        while not self._ending.wait(EVERY_SECONDS):
            warming = self._round() or warming
        if warming is not None:
            warming.join(timeout=5)

    def _round(self) -> Thread | None:
        """Look at everything once; the thread that scores ahead for an engine that came of it."""
        before = self._service.engine
        self._attempt("state", self._service.open_state)
        self._attempt("champion", self.look)
        engine = self._service.engine
        if engine is None or engine is before:
            return None
        warming = Thread(target=self._warm, args=(engine,), name="warmer", daemon=True)
        warming.start()
        return warming

    def _attempt(self, part: str, act: Callable[[], None]) -> None:
        """Do something that tells of what it foresees; of anything else it is told here, and the next look comes."""
        try:
            act()
        except Exception as error:
            self._service.tell(part, public(_words(error)), error)

    def look(self) -> None:
        """See where the alias points; swap when it points elsewhere and what is there passes the check."""
        service = self._service
        try:
            named = champion(service.settings)
        except ShoploomError as error:
            service.tell("champion", f"the registry does not answer: {public(error.message)}", error)
            return
        if named is None:
            service.tell("champion", "no model is promoted yet: shoploom run")
            return
        held = service.engine.provenance if service.engine else None
        if held is not None and (held.version, held.digest) == (named.version, named.digest):
            service.tell("champion", None)
            return
        if self._refused and self._refused[0] == named.version and time.monotonic() < self._refused[1]:
            return
        self._try(named)

    def _try(self, named: Champion) -> None:
        service, started = self._service, time.monotonic()
        log().info("loading", version=named.version)
        try:
            with _unhindered():
                engine = load_engine(named, self._rules, service.ring)
                answered = check(engine)
        except Exception as error:
            self._refused = named.version, time.monotonic() + AGAIN_SECONDS
            service.figures.swaps.labels("refused").inc()
            service.tell("champion", f"version {named.version} is not served: {public(_words(error))}", error)
            return
        service.engine = engine
        service.stocked()
        service.tell("champion", None)
        self._refused = None
        service.figures.serves(engine.provenance, engine.recommender.facts.trained_until)
        service.figures.swaps.labels("swapped").inc()
        seconds = round(time.monotonic() - started, 3)
        facts = {"version": named.version, "run": named.run, "override": engine.provenance.override or None}
        log().info("serving", **facts, golden=answered, seconds=seconds)

    def _warm(self, engine: Engine) -> None:
        def going_on() -> bool:
            return not self._ending.is_set() and self._service.engine is engine

        warmed = engine.warm(going_on)
        self._service.figures.warmed.set(warmed)
        log().info("warmed", version=engine.provenance.version, users=warmed)


def _words(error: Exception) -> str:
    return error.message if isinstance(error, ShoploomError) else f"{type(error).__name__}: {error}"


@contextmanager
def _unhindered() -> Iterator[None]:
    """Let no search for circles of references run while a model is loaded, nor look through the model afterwards.

    It holds up every request for as long as it takes to go through all that was ever loaded. A model that was replaced
    goes without it: nothing in one refers back to what holds it.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_engine(named: Champion, rules: Rules, ring: KeyRing) -> Engine:
    """Read a champion's package with our own loader, once all that speaks for it is verified; it goes to the audit log.

    Moving the alias is a request only: what does not verify is not loaded.

    Args:
        named: the registered version.
        rules: the shop's own.
        ring: what users are known by.

    Raises:
        RegistryError: the package is gone, or its bytes are not the registered ones.
        TrustError: a signature, the verdict or the approval is missing or broken.
        ModelError: it cannot be read.
    """
    subject = f"version {named.version}"
    try:
        folder: Path = named.kept_package()
        standing = verify_version(named.settings, named.version, folder)
        standing.require()
    except ShoploomError as error:
        record_once(named.settings, "refusal", subject, why=error.message, by="server")
        raise
    engine = Engine.load(folder, Provenance(named.version, named.run, named.digest, standing.override), rules, ring)
    facts = {"digest": named.digest, "by": "server", "override": standing.override or None}
    record_once(named.settings, "load", subject, **facts)
    return engine

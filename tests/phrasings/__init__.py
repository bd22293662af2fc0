"""Phrasings for the intent head that were written apart from the training templates.

``test_<intent>.txt`` measure and are never looked at when the templates or the settings change;
``validation_<intent>.txt`` are for that. One phrasing a line, English first, then Chinese.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.models.intent_templates import INTENTS

FOLDER = Path(__file__).parent


def phrasings(part: str) -> dict[str, list[str]]:
    """The phrasings of each intent.

    Args:
        part: ``"test"`` or ``"validation"``.
    """
    return {intent: (FOLDER / f"{part}_{intent}.txt").read_text(encoding="utf-8").splitlines() for intent in INTENTS}

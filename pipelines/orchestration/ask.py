"""Ask the champion from the command line: fetched once by digest, then read from the state folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines.errors import RegistryError
from pipelines.pseudonyms import stored_id
from pipelines.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.models.recommender import Recommendation, Recommender


def load_champion(settings: Settings) -> tuple[Recommender, str]:
    """Load the model that the alias ``champion`` points at.

    Returns:
        The model and its version.

    Raises:
        RegistryError: nothing is promoted yet.
    """
    from pipelines.lineage.audit import record_once
    from pipelines.models.recommender import Recommender
    from pipelines.orchestration.champions import champion_package
    from pipelines.registry.promotion import champion

    current = champion(settings)
    if current is None:
        raise RegistryError("no model is promoted yet", mend="shoploom run")
    model = Recommender.load(champion_package(settings, current))
    record_once(settings, "load", f"version {current.version}", digest=current.digest, by="command line")
    return model, current.version


def search_products(settings: Settings, text: str, count: int, user: str | None) -> dict[str, Any]:
    """Search with the champion; ``user`` is the shop's own id. The answer holds what the query is taken for."""
    model, version = load_champion(settings)
    found = model.find(text, count, user_id=user and _stored(settings, model, user))
    intent = model.intent(text)
    answer = _answer(f"search: {text}", version, found.results)
    return answer | {"corrected": found.corrected, "intent": intent and asdict(intent)}


def recommend_products(
    settings: Settings,
    user: str,
    count: int,
    new_only: bool,
    debias: float | None = None,
    diversity: float | None = None,
) -> dict[str, Any]:
    """Recommend with the champion; ``user`` is the shop's own id.

    Each result holds ``reasons``, in words, and ``contributions``, what each feature added to its log odds.
    """
    model, version = load_champion(settings)
    found = model.recommend(_stored(settings, model, user), count, new_only, debias, diversity)
    answer = _answer(f"for user {user}", version, found)
    for row, result in zip(answer["results"], found, strict=True):
        row |= {"reasons": list(result.reasons), "contributions": [asdict(part) for part in result.contributions]}
    return answer


def examples(settings: Settings, count: int = 5) -> dict[str, dict[str, Any]]:
    """One search and one user's recommendations, for the end of a run."""
    model, version = load_champion(settings)
    user = model.catalogue.user_ids[0]
    query = _example_query(model)
    return {
        "search": {"query": query, **_answer(f"search: {query}", version, model.search(query, count))},
        "recommend": _answer(f"for user {user}", version, model.recommend(user, count)),
    }


def _example_query(model: Recommender) -> str:
    """What anybody would ask of the default data; of another shop, the product type of what most people bought."""
    types = [name or "" for name in model.catalogue.items["product_type"].to_pylist()]
    if any(name.lower() == "frozen pizza" for name in types):
        return "frozen pizza"
    best = int(model.buyers.argmax())
    return (types[best] or str(model.catalogue.titles[best])).lower()


def _stored(settings: Settings, model: Recommender, user: str) -> str:
    return stored_id(user, model.catalogue.user_key, settings.home)


def _answer(question: str, version: str, results: list[Recommendation]) -> dict[str, Any]:
    rows = [
        {"position": position, "item_id": result.item_id, "title": result.title, "score": float(result.score)}
        for position, result in enumerate(results, start=1)
    ]
    return {"question": question, "model_version": version, "results": rows}


def draw_results(answer: dict[str, Any], console: Console, why: int = 0) -> None:
    """One line a product, and below it, where they are asked for, its reasons and ``why`` of its contributions."""
    from rich.markup import escape

    question = escape(_printable(answer["question"]))
    console.print(f"[bold]{question}[/] [dim](model version {answer['model_version']})[/]", soft_wrap=True)
    if answer.get("corrected"):
        console.print(f"  searched for: {escape(_printable(answer['corrected']))}", soft_wrap=True)
    if intent := answer.get("intent"):
        console.print(f"  [dim]intent: {intent['name']} ({intent['probability']:.2f})[/]", soft_wrap=True)
    for row in answer["results"]:
        title, item = escape(_printable(row["title"])), escape(_printable(row["item_id"]))
        console.print(f"  {row['position']:>2}. {title} [dim]{item}  {row['score']:.3f}[/]", soft_wrap=True)
        if why:
            console.print(f"      {escape(_printable('; '.join(row['reasons'])))}", soft_wrap=True)
        for part in row.get("contributions", ())[:why]:
            console.print(
                f"      [dim]{part['log_odds']:+6.2f}  {part['feature']} = {part['value']:.4g}  {part['words']}[/]",
                soft_wrap=True,
            )
    if not answer["results"]:
        console.print("  nothing found")


def _printable(text: str, longest: int = 200) -> str:
    """One line that cannot steer the terminal."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"

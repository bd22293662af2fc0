"""``POST /converse``: a conversation that narrows, kept in the durable state between its turns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import uuid4

from fastapi import APIRouter, Depends, Request

from pipelines.errors import DataError
from pipelines.serving.access import needs
from pipelines.serving.answers import Asked
from pipelines.serving.asking import Conversed, converse, fits
from pipelines.serving.engine import Engine
from pipelines.serving.front import note
from pipelines.serving.memory import Memory
from pipelines.serving.problems import RefusedError, responses
from pipelines.serving.schemas import ModelFacts
from pipelines.serving.service import Service
from pipelines.serving.state import ConflictError, Session, StateError
from pipelines.serving.understanding.conversation import FORM, Conversation, Turn, withdraw
from pipelines.serving.understanding.turns import take_turn
from pipelines.serving.understood import ConverseAnswer, ConverseRequest, FittingFacts, SlotFacts, turn_facts
from pipelines.serving.whom import rows_of, shopper_of

router = APIRouter(dependencies=[Depends(needs("read"))])
PREFIX = "conversation "
"""Before a conversation's id where the state keeps it, so that no visit of the same name is met."""


@dataclass(frozen=True)
class Kept:
    """What is kept of a conversation.

    Args:
        session: as the state has it.
        conversation: as it stood.
        shown: item ids of the answer before.
    """

    session: Session
    conversation: Conversation
    shown: list[str]


@router.post(
    "/converse",
    response_model=ConverseAnswer,
    responses=responses(401, 403, 404, 408, 409, 413, 422, 429, 503),
    summary="Narrow a search by talking",
)
async def take(body: ConverseRequest, request: Request) -> ConverseAnswer:
    """What was understood changes what is asked from here on; what was not is told and changes nothing. Every
    constraint in force is listed with an id, by which it can be withdrawn."""
    service: Service = request.app.state.service
    engine, memory = service.current(), service.remembering()
    rows, ignored = rows_of(engine, [*body.viewed, *body.cart])
    with service.figures.step("shopper"):
        shopper = await shopper_of(service, engine, body, rows)
    kept = await _kept(service, memory, body)

    def work() -> tuple[Turn, Conversed]:
        with service.figures.step("converse"):
            turn = _turn(engine, kept, body)
            wanted = Asked(count=body.k, rules=body.rules.rules(), explain=body.explain)
            return turn, converse(engine, turn.conversation, shopper, wanted)

    turn, answered = await service.run(work, instant=False)
    found, asked = answered.found, turn.conversation.constraints
    shown = [hit.result.item_id for hit in found.hits]
    stored = await _store(service, memory, kept, turn.conversation, shown)
    service.figures.answered("/converse", "query", len(found.hits))
    results = [hit.result for hit in found.hits]
    service.answered_by(found.provenance, request.scope["request_id"], "/converse")
    service.shown.keep(request.scope["request_id"], found.provenance.version, "converse", results)
    note(request, model=found.provenance.version, turn=stored.revision, constraints=len(asked))
    dropped = {each.id for each in answered.relaxed.dropped}
    satisfied = fits(engine, asked, shown)
    return ConverseAnswer(
        request_id=request.scope["request_id"],
        model=ModelFacts.of(found.provenance),
        conversation=stored.session_id.removeprefix(PREFIX),
        turn=stored.revision,
        **turn_facts(turn),
        constraints=[SlotFacts.of(each, asked, engine.vocabulary) for each in asked],
        looked_for=turn.conversation.query,
        let_go=[each.id for each in asked if each.id in dropped],
        total=found.total,
        known_user=shopper.user is not None,
        ignored=ignored,
        results=FittingFacts.of_hits(found.hits, satisfied),
    )


def _turn(engine: Engine, kept: Kept, body: ConverseRequest) -> Turn:
    """Take back what is withdrawn, then read the text."""
    turn = Turn(kept.conversation)
    for name in body.withdraw:
        try:
            gone = withdraw(turn.conversation, name)
        except DataError as error:
            raise RefusedError(
                404, "unknown_constraint", error.message, where="body.withdraw", mend=error.mend
            ) from None
        turn = Turn(gone.conversation, (*turn.changes, *gone.changes))
    if body.text.strip() or not body.withdraw:
        shown = kept.shown if body.shown is None else body.shown
        said = take_turn(turn.conversation, body.text, shown, engine.vocabulary)
        turn = replace(said, changes=(*turn.changes, *said.changes))
    return turn


async def _kept(service: Service, memory: Memory, body: ConverseRequest) -> Kept:
    """The conversation that a request goes on with, or a new one."""
    if body.conversation is None:
        identity = service.identity(body.user, body.device, body.session)
        return Kept(Session(f"{PREFIX}{uuid4().hex}", FORM, {}, identity), Conversation(), [])
    name = f"{PREFIX}{body.conversation}"
    try:
        session = await service.store(lambda: memory.state.sessions.get(name))
    except StateError as error:
        raise service.lost(error) from None
    if session is None:
        raise RefusedError(
            404,
            "unknown_conversation",
            "there is no such conversation",
            where="body.conversation",
            mend="leave it out to begin one",
        )
    try:
        conversation = Conversation.from_json(session.state.get("conversation"))
    except DataError as error:
        raise RefusedError(409, "conflict", error.message, where="body.conversation", mend=error.mend) from None
    return Kept(session, conversation, [str(item) for item in session.state.get("shown", [])])


async def _store(service: Service, memory: Memory, kept: Kept, conversation: Conversation, shown: list[str]) -> Session:
    """Keep a turn; of two that are said at once the first is kept, and the second refused."""
    session = replace(kept.session, form=FORM, state={"conversation": conversation.as_json(), "shown": shown})
    with service.figures.step("store"):
        try:
            return await service.store(lambda: memory.state.sessions.put(session))
        except ConflictError as error:
            raise RefusedError(
                409, "conflict", "another turn was taken meanwhile", where="body.conversation", mend=error.mend
            ) from None
        except DataError as error:
            raise RefusedError(422, "invalid_request", error.message, where="body", mend=error.mend) from None
        except StateError as error:
            raise service.lost(error) from None

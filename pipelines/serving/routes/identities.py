"""``POST /identities``: which device belongs to which account."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from pipelines.errors import DataError
from pipelines.serving.access import needs
from pipelines.serving.problems import RefusedError, responses
from pipelines.serving.schemas import IdentitiesAnswer, IdentitiesRequest
from pipelines.serving.service import Service
from pipelines.serving.state import StateError

router = APIRouter(dependencies=[Depends(needs("events"))])


@router.post(
    "/identities",
    response_model=IdentitiesAnswer,
    responses=responses(401, 403, 404, 408, 413, 422, 429, 503),
    summary="Link a device with an account, or undo it",
)
async def identities(body: IdentitiesRequest, request: Request) -> IdentitiesAnswer:
    """What was done on the device shapes the account's answers from the next request; unlinking restores exactly what
    was before."""
    service: Service = request.app.state.service
    memory = service.remembering()
    linked = body.action == "link"
    if body.household is not None:
        await service.access.check(service, request, "admin")
        if linked and service.current().user_row(body.household) is None:
            raise RefusedError(
                404,
                "unknown_household",
                "the model knows no such household",
                where="body.household",
                mend="name one of GET /households",
            )
    try:
        device = memory.state.device(body.device)
        account = body.household or memory.state.account(str(body.user))
    except DataError as error:
        raise RefusedError(422, "invalid_request", error.message, where="body", mend=error.mend) from None
    try:
        await service.store(lambda: memory.link(device, account, linked))
    except DataError as error:
        raise RefusedError(404, "not_linked", error.message, where="body.device", mend=error.mend) from None
    except StateError as error:
        raise service.lost(error) from None
    return IdentitiesAnswer(request_id=request.scope["request_id"], linked=linked)

"""Read one's own events."""

from dataclasses import astuple
from typing import Any

from app.auth.tokens import TOKEN_PROBLEMS, confirm_session, current_user_id, token_required
from app.events import service
from app.events.schemas import EventPageSchema, EventQuerySchema
from app.events.service import Place
from app.http.blueprint import Blueprint
from app.http.paging import PAGE_PROBLEMS, read_place, write_place

bp = Blueprint("events", __name__, url_prefix="/api/events", description="What programs are told")


@bp.get("")
@token_required
@bp.arguments(EventQuerySchema(), location="query")
@bp.response(200, EventPageSchema())
@bp.refusals(*TOKEN_PROBLEMS, *PAGE_PROBLEMS)
def list_events(query: dict[str, Any]) -> dict[str, Any]:
    """List the user's events.

    They come oldest first, and are kept for 30 days. With `wait`, the answer comes when there is an event, or after
    that many seconds. If too many requests wait already, it comes at once.
    """
    user = current_user_id()
    after = service.as_place(read_place(query["after"], "events", user=user)) if query.get("after") else Place()
    page = service.read(user, after, types=query.get("types", ()), limit=query["limit"], wait_s=query["wait"])
    if query["wait"]:
        confirm_session()
    return {"events": page.events, "next_after": write_place(list(astuple(page.place)), "events", user=user)}

"""Judges statements that clients send: reads what the ledger says, and compares."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from bson import ObjectId

from app.accounts.service import with_ids
from app.http.compiled import dumper_of
from app.http.parsing import json_loader_of
from app.statements import render, service, verification
from app.statements.schemas import ClaimedStatementSchema, VerdictSchema
from app.statements.service import Period

# Up to this size, the comparison takes a few hundredths of a second. The press judges larger statements.
LIGHT_BODY_BYTES_MAX = 128 * 1024
LIGHT_ENTRIES_MAX = 250

_load_claim = json_loader_of(ClaimedStatementSchema())
_dump_verdict = dumper_of(VerdictSchema())


def judge(body: bytes, viewer: ObjectId, pause: Callable[[], None]) -> bytes:
    """Return the verdict on the statement that `viewer` sent as this body, in JSON. Calls `pause` between reads.

    Raises MalformedJson, ValidationFailed, and AccountNotFound for an account that `viewer` may not read.
    """
    claim = _read_claim(body)
    return _compare(claim, *_find_period(claim, viewer), pause)


def judge_if_light(body: bytes, viewer: ObjectId) -> bytes | None:
    """Return the verdict as `judge` does, or None if the body or the period is long."""
    if len(body) > LIGHT_BODY_BYTES_MAX:
        return None
    claim = _read_claim(body)
    period, joined = _find_period(claim, viewer)
    return None if period.span.size > LIGHT_ENTRIES_MAX else _compare(claim, period, joined, service.never_pause)


def _read_claim(body: bytes) -> Mapping[str, Any]:
    """Return the claim with the account's id, as statements have it, even if the client named the account by number."""
    loaded = _load_claim(body)
    (claim,) = with_ids([loaded], "account_id")
    if claim["account_id"] != loaded["account_id"]:
        claim["claimed"] = {**claim["claimed"], "accountId": str(claim["account_id"])}
    return claim


def _find_period(claim: Mapping[str, Any], viewer: ObjectId) -> tuple[Period, range]:
    claimed = claim["claimed"]
    return service.find_period_again(
        claim["account_id"],
        viewer,
        from_time=claim["from_time"],
        to_time=claim["to_time"],
        last_sequence=verification.last_sequence(claimed),
        last_hash=verification.last_hash(claimed),
    )


def _compare(claim: Mapping[str, Any], period: Period, joined: range, pause: Callable[[], None]) -> bytes:
    true = service.draw_up(period, pause)
    entries = render.sealed_entries_as_json(true)
    verdict = verification.compare(claim["claimed"], render.head_as_json(true), entries, joined)
    return orjson.dumps(_dump_verdict(verdict)) + b"\n"

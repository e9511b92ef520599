"""The operator's commands for the audit log: `flask --app wsgi audit …`."""

import contextlib
import time
from datetime import datetime, timedelta
from typing import Any

import click
from bson import ObjectId

from app import clock
from app.admin import repository, service
from app.admin.schemas import AuditRecordSchema
from app.cli.terminal import LIST_LENGTH_MAX, OperatorGroup, json_option, show_table

TAIL_LENGTH_DEFAULT = 20
FOLLOW_POLL_S = 1.0
# A record's id is made before its block commits, on a machine whose clock is its own: younger ids may come to light
# first. Following looks back this far, so that none is missed.
FOLLOW_LOOKBACK = timedelta(seconds=60)
_COLUMNS = ("at", "actor", "action", "subject", "before", "after", "reason")

group = OperatorGroup("audit", help="Who did what to what, when and why.")


@group.command("tail")
@click.option("-n", "count", type=click.IntRange(0, LIST_LENGTH_MAX), default=TAIL_LENGTH_DEFAULT, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is being done, until interrupted.")
@click.option("--subject", help="Only what was done to this: an id or a name.")
@click.option("--actor", help="Only what this one did: an id or a name.")
@json_option
def tail_audit_log(count: int, follow: bool, subject: str | None, actor: str | None, as_json: bool) -> None:
    """Show the newest records of the audit log, the newest last."""
    given = {"subject": subject, "actor": actor}
    filters = service.audit_filters({name: value for name, value in given.items() if value is not None})
    since = clock.now() - FOLLOW_LOOKBACK
    # In this order, so that what is recorded between the two is shown by one of them.
    seen = {record["_id"] for record in repository.find_audit_records_since(since, filters)} if follow else set()
    latest = repository.find_audit_records(filters, after=None, limit=count) if count else []
    show_table(AuditRecordSchema(many=True).dump(latest[::-1]), _COLUMNS, as_json=as_json)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow_audit_log(filters, since, seen | {record["_id"] for record in latest}, as_json=as_json)


def _follow_audit_log(filters: dict[str, Any], since: datetime, seen: set[ObjectId], *, as_json: bool) -> None:
    while True:
        found = repository.find_audit_records_since(since, filters)
        news = [record for record in found if record["_id"] not in seen]
        if news:
            show_table(AuditRecordSchema(many=True).dump(news), _COLUMNS, as_json=as_json, header=False)
        seen = {record["_id"] for record in found}
        since = clock.now() - FOLLOW_LOOKBACK
        time.sleep(FOLLOW_POLL_S)

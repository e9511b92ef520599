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
# Records do not become visible in the order of their times: they are written before their blocks commit, by machines
# whose clocks differ. `--follow` reads this far back each time, so that it misses none.
FOLLOW_LOOKBACK = timedelta(seconds=60)
_COLUMNS = ("at", "actor", "action", "subject", "before", "after", "reason")

group = OperatorGroup("audit", help="Who did what to what, when and why.")


@group.command("tail")
@click.option("-n", "count", type=click.IntRange(0, LIST_LENGTH_MAX), default=TAIL_LENGTH_DEFAULT, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new records until interrupted.")
@click.option("--subject", help="Only records of acts on this: an id or a name.")
@click.option("--actor", help="Only records of acts by this actor: an id or a name.")
@json_option
def tail_audit_log(count: int, follow: bool, subject: str | None, actor: str | None, as_json: bool) -> None:
    """Show the last records of the audit log, the newest at the end."""
    given = {"subject": subject, "actor": actor}
    filters = service.audit_filters({name: value for name, value in given.items() if value is not None})
    since = clock.now() - FOLLOW_LOOKBACK
    # `seen` is read first. A record written between the two reads is then shown as one of the latest, or by following.
    seen = {record["_id"] for record in repository.find_audit_records_since(since, filters)} if follow else set()
    latest, _ = repository.find_audit_records(filters, after=None, limit=count) if count else ([], None)
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

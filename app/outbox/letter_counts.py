"""The collection `letter_counts`: how many letters a reader got in a while."""

from collections.abc import Mapping
from datetime import datetime

from bson import ObjectId
from pymongo import UpdateOne

from app.mongo import database
from app.outbox.repository import hasty


def reserve_letters(
    wanted: Mapping[ObjectId, int], *, day: str, letters_max: int, expires_at: datetime
) -> dict[ObjectId, int]:
    """Count the wanted letters to each reader on that day, and return how many of them are within `letters_max`.

    If several deliverers ask for the last ones at once, the limit still holds, but perhaps none of them gets any.
    """
    if not wanted:
        return {}
    keys = {f"{reader}/{day}": reader for reader in wanted}
    # To wait for a majority would cost more than a letter too many after a failover.
    count = hasty(database().letter_counts)
    count.bulk_write(
        [
            UpdateOne(
                {"_id": key}, {"$inc": {"count": wanted[reader]}, "$set": {"expires_at": expires_at}}, upsert=True
            )
            for key, reader in keys.items()
        ],
        ordered=False,
    )
    counts = {document["_id"]: document["count"] for document in count.find({"_id": {"$in": list(keys)}})}
    beyond = {reader: min(wanted[reader], max(0, counts[key] - letters_max)) for key, reader in keys.items()}
    return_letters(beyond, day=day)
    return {reader: wanted[reader] - beyond[reader] for reader in wanted}


def return_letters(unsent: Mapping[ObjectId, int], *, day: str) -> None:
    """Subtract letters that were not sent from their readers' counts."""
    changes = [
        UpdateOne({"_id": f"{reader}/{day}"}, {"$inc": {"count": -number}})
        for reader, number in unsent.items()
        if number
    ]
    if changes:
        hasty(database().letter_counts).bulk_write(changes, ordered=False)

"""How news is stored in documents of the outbox: runs of {event, subjects} or {event, subjects, at}."""

from collections.abc import Sequence
from itertools import groupby

from app.mongo import Document
from app.outbox.messages import Happening, News


def news_in(document: Document) -> list[News]:
    """Return the news in the document of a block or a reader, in order. A message has none."""
    return [
        News(Happening(run["event"]), subject, run.get("at"))
        for run in document.get("news", ())
        for subject in run["subjects"]
    ]


def packed(news: Sequence[News]) -> list[Document]:
    return [
        {"event": event.value, "subjects": [each.subject for each in run], **({"at": at} if at is not None else {})}
        for (event, at), run in groupby(news, key=lambda each: (each.event, each.at))
    ]

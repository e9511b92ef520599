"""The part of MongoDB's query language that the simulated bank asks for, over documents in memory."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

Document = dict[str, Any]

_MISSING = object()


def matches(document: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Tell whether a document meets a query; raises NotImplementedError for an operator that is not known here."""
    for name, wanted in query.items():
        if name == "$or":
            if not any(matches(document, branch) for branch in wanted):
                return False
            continue
        if name.startswith("$"):
            raise NotImplementedError(f"The simulated database does not know {name}.")
        value = document.get(name, _MISSING)
        if isinstance(wanted, Mapping) and any(key.startswith("$") for key in wanted):
            if not all(_holds(operator, operand, value) for operator, operand in wanted.items()):
                return False
        elif not _equals(value, wanted):
            return False
    return True


def in_order(documents: list[Document], order: list[tuple[str, int]]) -> list[Document]:
    """Return the documents in this order of fields; 1 is ascending, -1 descending."""
    for name, direction in reversed(order):
        documents = sorted(documents, key=lambda document: document[name], reverse=direction < 0)
    return documents


def updated(document: Document, changes: Mapping[str, Any]) -> Document:
    """Return a copy with `$set` and `$inc` applied."""
    after = dict(document)
    for operator, fields in changes.items():
        for name, value in fields.items():
            match operator:
                case "$set":
                    after[name] = value
                case "$inc":
                    after[name] = after.get(name, 0) + value
                case _:
                    raise NotImplementedError(f"The simulated database does not know {operator}.")
    return after


def evaluated(expression: Any, document: Mapping[str, Any], now: datetime) -> Any:
    """Return the value of an expression of a pipeline, such as {"$cond": [...]}, about a document."""
    if expression == "$$NOW":
        return now
    if isinstance(expression, str) and expression.startswith("$"):
        return document.get(expression[1:])
    if not isinstance(expression, Mapping):
        return expression
    ((operator, operands),) = expression.items()
    values = [evaluated(each, document, now) for each in operands]
    match operator, values:
        case "$or", _:
            return any(values)
        case "$eq", [one, other]:
            return one == other
        case "$lte", [one, other]:
            return one <= other
        case "$ifNull", [value, instead]:
            return instead if value is None else value
        case "$cond", [holds, then, otherwise]:
            return then if holds else otherwise
        case "$add", [datetime() as moment, milliseconds]:
            return moment + timedelta(milliseconds=milliseconds)
        case _:
            raise NotImplementedError(f"The simulated database does not know {operator}.")


def _equals(value: Any, wanted: Any) -> bool:
    if wanted is None:
        return value is None or value is _MISSING
    return value == wanted or (isinstance(value, list) and wanted in value)


def _holds(operator: str, operand: Any, value: Any) -> bool:
    match operator:
        case "$in":
            return any(_equals(value, each) for each in operand)
        case "$nin":
            return not any(_equals(value, each) for each in operand)
        case "$ne":
            return not _equals(value, operand)
        case "$exists":
            return (value is not _MISSING) is bool(operand)
    if value is _MISSING or value is None:
        return False
    match operator:
        case "$gt":
            return bool(value > operand)
        case "$gte":
            return bool(value >= operand)
        case "$lt":
            return bool(value < operand)
        case "$lte":
            return bool(value <= operand)
        case _:
            raise NotImplementedError(f"The simulated database does not know {operator}.")

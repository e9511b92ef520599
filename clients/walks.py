"""The walks through the bank in docs/clients: one program for each client. All do the same and print the same."""

from config import ROOT

WALKS = ROOT / "docs" / "clients"
# The lines that each walk prints, in this order. Some languages write booleans with a capital.
PRINTED = (
    "Transferred.",
    "Declined: insufficient_funds",
    "In the history: 5",
    "The statement is genuine: true Credits: 6000001000",
    "And as a file it begins with %PDF",
    "Left: 5999999497",
)


def missing(output: str) -> str | None:
    """Return the first line that a walk should have printed and did not, or None."""
    printed, position = output.lower(), 0
    for line in PRINTED:
        position = printed.find(line.lower(), position)
        if position < 0:
            return line
    return None

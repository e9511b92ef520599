"""Finds what a catalogue of letters lacks, or has in excess, compared with the English one."""

from collections.abc import Collection, Iterator, Mapping
from string import Formatter

from babel import Locale

PLURALS = {"zero", "one", "two", "few", "many", "other"}
LABEL_COLUMNS_MAX = 18


def faults(language: str, texts: Mapping[str, str], reference: Mapping[str, str]) -> list[str]:
    """Return a line for each text that is missing, unknown, empty, or has other placeholders than the reference's."""
    own = Locale(language).plural_form.tags | {"other"}
    wanted = dict(_wanted(reference, own))
    found = [f"{language}.toml lacks {key}." for key in wanted if key not in texts]
    found += [f"{language}.toml has {key}, which no letter needs." for key in texts if key not in wanted]
    for key in texts.keys() & wanted.keys():
        if not texts[key]:
            found.append(f"{language}.toml says nothing for {key}.")
        if placeholders(texts[key]) != placeholders(wanted[key]):
            names = ", ".join(sorted(placeholders(wanted[key]))) or "none"
            found.append(f"{language}.toml: the placeholders of {key} must be: {names}.")
    return sorted(found)


def placeholders(text: str) -> set[str]:
    """Return the names in braces, with anything else inside the braces, which should be nothing."""
    found = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(text) if name is not None]
    return {
        name + (f":{spec}" if spec else "") + (f"!{conversion}" if conversion else "")
        for name, spec, conversion in found
    }


def _wanted(reference: Mapping[str, str], plurals: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the texts of the reference, and those about numbers for each plural of the language."""
    for key, text in reference.items():
        stem, _, last = key.rpartition(".")
        if last not in PLURALS:
            yield key, text
        elif last == "other":
            for plural in plurals:
                yield f"{stem}.{plural}", text

"""Joins modules of the page into a few files when the application starts, so that a phone need not ask for each.

A bundle has some modules and everything that they import, each in a function of its own, in the order of their imports.
It exports one object for each module, with the module's exports. So a module runs once, whichever file asks for it, and
its state exists once. A bundle has a source map, so a browser's tools show the modules as they were written.

It understands only the JavaScript that the page uses, and refuses the rest: an import is one line with names in braces
or `* as name`, and an export comes before a function, a class or a const. Whole lines of comment are left out.
"""

import json
import posixpath
import re
from collections.abc import Mapping, Sequence

_IMPORT = re.compile(
    r'^import (?:\{ (?P<names>[\w, ]+) \}|\* as (?P<all>\w+)) from "(?P<path>\.[^"]+)";$', re.MULTILINE
)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (?P<name>\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export) ")
_DYNAMIC = re.compile(r'\bimport\("(\.[^"]+)"\)')
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
MAP = ".map"

Modules = Mapping[str, str]


def link(modules: Modules, bundles: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the files to serve, by their names: the bundles with their maps, and every other module as it is.

    `bundles` names the modules of each bundle. Modules of an earlier bundle are not in later ones. A bundle is in the
    folder of all modules. Raises ValueError if a module is written in a way that this cannot read.
    """
    _check_imports(modules)
    homes: dict[str, str] = {}
    for bundle, entries in bundles.items():
        for entry in entries:
            _place(modules, entry, bundle, homes)
    files = {name: "\n".join(_lines(name, text, "", homes)) for name, text in modules.items() if name not in homes}
    for bundle in bundles:
        inside = {name: modules[name] for name, home in homes.items() if home == bundle}
        files[bundle], files[bundle + MAP] = _bundle(bundle, inside, homes)
    return files


def _check_imports(modules: Modules) -> None:
    """Raise ValueError if a module imports a name that another does not export, or imports another twice."""
    exported = {name: _exported(text) for name, text in modules.items()}
    for name, text in modules.items():
        imported: set[str] = set()
        for found in _IMPORT.finditer(text):
            target = _target(name, found["path"])
            wanted = {one.partition(" as ")[0] for one in (found["names"] or "").split(", ") if one}
            if missing := wanted.difference(exported[target]):
                raise ValueError(f"{name} imports from {target} what that does not export: {', '.join(missing)}.")
            if target in imported:
                raise ValueError(f"{name} imports {target} twice.")
            imported.add(target)


def _exported(text: str) -> list[str]:
    return [found["name"] for found in _EXPORT.finditer(text)]


def _place(modules: Modules, name: str, bundle: str, homes: dict[str, str], importers: tuple[str, ...] = ()) -> None:
    """Note that the bundle has a module, after everything that it imports, unless an earlier bundle has it."""
    if name in importers:
        raise ValueError(f"{name} imports itself, through {', '.join(importers)}.")
    if name not in homes:
        for found in _IMPORT.finditer(modules[name]):
            _place(modules, _target(name, found["path"]), bundle, homes, (*importers, name))
        homes[name] = bundle


def _bundle(bundle: str, inside: Modules, homes: Mapping[str, str]) -> tuple[str, str]:
    """Return the text of a bundle, and its source map."""
    lines: list[str] = []
    # For each line the module and the line that it comes from.
    origins: list[tuple[int, int] | None] = []
    foreign = {_target(name, found["path"]) for name, text in inside.items() for found in _IMPORT.finditer(text)}
    for other in sorted({homes[name] for name in foreign - inside.keys()}):
        names = sorted(_object(name) for name in foreign if homes[name] == other)
        lines.append(f'import {{ {", ".join(names)} }} from "./{other}";')
    origins += [None] * len(lines)
    for index, (name, text) in enumerate(inside.items()):
        kept = [(number, line) for number, line in enumerate(_lines(name, text, bundle, homes)) if _is_code(line)]
        lines += [f"const {_object(name)} = (() => {{", *(line for _, line in kept)]
        lines += [f"return {{ {', '.join(_exported(text))} }};", "})();"]
        origins += [None, *((index, number) for number, _ in kept), None, None]
    lines += [f"export {{ {', '.join(map(_object, inside))} }};", f"//# sourceMappingURL={bundle}{MAP}"]
    source_map = {
        "version": 3,
        "sources": list(inside),
        "sourcesContent": list(inside.values()),
        "names": [],
        "mappings": _mappings(origins),
    }
    return "\n".join(lines), json.dumps(source_map, ensure_ascii=False)


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("//")


def _lines(name: str, text: str, here: str, homes: Mapping[str, str]) -> list[str]:
    """Return a module's lines, with imports changed to find bundled modules. `here` is the module's bundle, or ""."""
    return [_line(name, line, here, homes) for line in text.split("\n")]


def _line(name: str, line: str, here: str, homes: Mapping[str, str]) -> str:
    if found := _IMPORT.fullmatch(line):
        target = _target(name, found["path"])
        if target not in homes:
            return line
        names = found["all"] or f"{{ {found['names'].replace(' as ', ': ')} }}"
        taken = f"const {names} = {_object(target)};"
        address = _address(name, homes[target])
        return taken if here else f'import {{ {_object(target)} }} from "{address}"; {taken}'
    if _OTHER.match(line) and not _EXPORT.match(line):
        raise ValueError(f"{name} is written in a way that cannot be joined: {line}")
    if here:
        line = _EXPORT.sub("", line)
    return _DYNAMIC.sub(lambda found: _fetched(_target(name, found[1]), name, here, homes), line)


def _fetched(target: str, name: str, here: str, homes: Mapping[str, str]) -> str:
    """Return the expression for a promise of a module."""
    origin = here or name
    home = homes.get(target)
    if home is None:
        return f'import("{_address(origin, target)}")'
    if home == here:
        return f"Promise.resolve({_object(target)})"
    return f'import("{_address(origin, home)}").then((all) => all.{_object(target)})'


def _object(name: str) -> str:
    """Return the name of a module's object: `$views$sign_in`."""
    return "$" + name.removesuffix(".js").replace("/", "$").replace("-", "_")


def _target(name: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), path))


def _address(name: str, target: str) -> str:
    path = posixpath.relpath(target, posixpath.dirname(name) or ".")
    return path if path.startswith(".") else f"./{path}"


def _mappings(origins: Sequence[tuple[int, int] | None]) -> str:
    """Return the `mappings` of a source map: for each line's beginning the change of source and line (ECMA-426)."""
    source = line = 0
    segments = []
    for origin in origins:
        if origin is None:
            segments.append("")
            continue
        segments.append(f"A{_digits(origin[0] - source)}{_digits(origin[1] - line)}A")
        source, line = origin
    return ";".join(segments)


def _digits(number: int) -> str:
    """Return a number as a source map writes it: digits of 5 bits, the lowest first, its sign in the lowest bit."""
    rest = abs(number) << 1 | (number < 0)
    digits = _BASE64[rest & 31 | (32 if rest > 31 else 0)]
    while rest := rest >> 5:
        digits += _BASE64[rest & 31 | (32 if rest > 31 else 0)]
    return digits

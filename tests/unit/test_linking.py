"""Modules of the page joined into a few files: the same modules, each once, and readable in a browser's tools."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from app.web.assets import BUNDLES, STATIC, made
from app.web.linking import link
from tests.node import NODE

MODULES = {
    "start.js": 'import { count as seen, Note } from "./kit/state.js";\n\n// Why.\nexport const first = seen();\n'
    'export const late = () => import("./views/late.js");\nexport const self = () => import("./views/early.js");\n'
    "export const name = new Note().text;\n",
    "kit/state.js": "let counted = 0;\nexport function count() {\n  counted += 1;\n  return counted;\n}\n"
    'export class Note {\n  text = "n";\n}\n',
    "views/early.js": 'import * as state from "../kit/state.js";\n'
    "export async function view() {\n  return state.count();\n}\n",
    "views/late.js": 'import { count } from "../kit/state.js";\nimport { twice } from "../kit/sums.js";\n'
    "export const counted = twice(count());\n",
    "kit/sums.js": "export const twice = (number) => 2 * number;\n",
}
RUNNER = """
import { readFileSync } from "node:fs";
import { SourceMap } from "node:module";
const { $start } = await import("./start.js");
const { counted } = await $start.late();
const early = await (await $start.self()).view();
const lines = readFileSync("start.js", "utf8").split("\\n");
const map = new SourceMap(JSON.parse(readFileSync("start.js.map", "utf8")));
const places = lines.map((line, at) => [line, map.findEntry(at, 0)])
  .map(([line, { originalSource, originalLine }]) => [line, originalSource, originalLine]);
console.log(JSON.stringify({ first: $start.first, name: $start.name, counted, early, places }));
"""


# Complains of a module that no engine would take.
PARSER = """
import { readFileSync } from "node:fs";
import { SourceTextModule } from "node:vm";
for (const [name, text] of Object.entries(JSON.parse(readFileSync(0, "utf8"))))
  try { new SourceTextModule(text); } catch (error) { console.log(`${name}: ${error}`); }
"""


def page_modules() -> dict[str, str]:
    return {str(path.relative_to(STATIC)): path.read_text() for path in STATIC.rglob("*.js")} | made("INR")


def node(*arguments: str, cwd: Path | None = None, given: str = "") -> str:
    return subprocess.run(
        [NODE, "--no-warnings", *arguments],
        cwd=cwd,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    ).stdout


def test_joined_modules_do_what_they_did_and_their_state_exists_once(tmp_path: Path) -> None:
    files = link(MODULES, {"start.js": ("views/early.js", "start.js")})
    assert files.keys() == {"start.js", "start.js.map", "views/late.js", "kit/sums.js"}
    for name, text in {**files, "runner.mjs": RUNNER, "package.json": '{"type": "module"}'}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    told = json.loads(node("runner.mjs", cwd=tmp_path))
    # One counter, though three files ask for it.
    assert (told["first"], told["counted"], told["early"], told["name"]) == (1, 4, 3, "n")
    mapped = [(line, MODULES[source].split("\n")[at]) for line, source, at in told["places"] if source in MODULES]
    assert ("const first = seen();", "export const first = seen();") in mapped
    assert ("  counted += 1;", "  counted += 1;") in mapped
    assert ('  text = "n";', '  text = "n";') in mapped
    assert "// Why." not in files["start.js"]


def test_every_module_of_the_page_is_in_one_file_and_every_import_leads_there() -> None:
    modules = page_modules()
    files = link(modules, BUNDLES)
    sources = {name: json.loads(files[f"{name}.map"])["sources"] for name in BUNDLES}
    joined = [one for some in sources.values() for one in some]
    alone = files.keys() - BUNDLES.keys() - {f"{name}.map" for name in BUNDLES}
    assert sorted([*joined, *alone]) == sorted(modules)
    assert {"main.js", "kit/session.js", "views/sign-in.js"} <= set(sources["main.js"])
    # The sign-in view knows no amounts.
    assert "kit/money.js" in sources["home.js"]
    scripts = {name: text for name, text in files.items() if name.endswith(".js")}
    assert node("--experimental-vm-modules", "--input-type=module", "-e", PARSER, given=json.dumps(scripts)) == ""
    for name, text in scripts.items():
        for path in re.findall(r'(?:from |import\()"(\.[^"]+)"', text):
            assert os.path.normpath(os.path.join(os.path.dirname(name), path)) in files, (name, path)


def test_no_text_of_the_page_runs_over_several_lines() -> None:
    # Or a line of it might look like a comment, which is left out.
    for name, text in page_modules().items():
        assert [
            line for line in text.split("\n") if line.count("`") % 2 and not line.startswith("const BLANKS")
        ] == [], name
        assert "/*" not in text, name


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('import state from "./kit/state.js";', "cannot be joined"),
        ('import "./kit/state.js";', "cannot be joined"),
        ('export { count } from "./kit/state.js";', "cannot be joined"),
        ('import { count } from "./kit/state.js";\nimport { Note } from "./kit/state.js";', "twice"),
        ("export default 5;", "cannot be joined"),
        ("export let count = 5;", "cannot be joined"),
        ('import { missing } from "./kit/state.js";', "does not export: missing"),
        ('import { first } from "./start.js";', "imports itself"),
    ],
)
def test_what_cannot_be_joined_is_refused_by_name(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"start\.js.*{reason}"):
        link(MODULES | {"start.js": f"{line}\nexport const first = 1;\n"}, {"start.js": ("start.js",)})

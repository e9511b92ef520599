"""The layout of the code, asserted from its source: where things are, and which way imports run."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from flask import Flask

from app.http.contract import contract_of
from config import ROOT

# The floors of the house, from the ground up. A room imports from floors below its own, and from no other.
# A room is a package of `app` or a module straight under it, or a module at the top of the project.
FLOORS: list[set[str]] = [
    {"account_numbers", "acts", "addresses", "clock", "errors", "money", "networks", "telemetry"},
    {"fields", "settings"},
    {"mongo", "runtime"},
    {"audit", "http", "ledger"},
    {"backup", "outbox"},
    {"auth"},
    {"accounts", "config", "mail"},
    {"admin", "events", "local", "payees", "statements"},
    {"transactions", "webhooks"},
    {"cli", "operations", "web"},
    {"app"},
    {"wsgi"},
]

# Every domain package has these files and no others, except its own ones.
FILES_OF_A_DOMAIN = {"__init__", "routes", "schemas", "service", "repository"}
FILES_OF_ITS_OWN = {
    "operations": {"measures"},
    "auth": {
        "attempts",
        "languages",
        "manager",
        "passwords",
        "preferences",
        "resets",
        "roles",
        "sessions",
        "tokens",
        "unsubscribing",
    },
    "statements": {
        "embedding",
        "pdf",
        "press",
        "printing",
        "queries",
        "render",
        "typefaces",
        "typesetting",
        "verdicts",
        "verification",
    },
    "events": {"waiting"},
    "transactions": {"pages", "receipts"},
    "web": {"assets", "cookies", "document", "linking"},
    "webhooks": {"attempts", "dispatch", "outgoing", "signing", "statuses", "targets"},
}
DOMAINS = FILES_OF_ITS_OWN.keys() | {"accounts", "admin", "payees"}
# The rules of the ledger: no I/O, no clock, no randomness.
RULES = ("canonical", "chain", "commands", "journal", "records", "replay", "state", "values")
PURE = {*(f"app.ledger.{name}" for name in RULES), "app.acts", "app.errors", "app.money"}
PURE_LIBRARIES = {"babel", "bson", "iso4217", "orjson"}
IMPURE_STANDARD_LIBRARIES = {"os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
FLASK = {"flask", "flask_cors", "flask_jwt_extended", "flask_smorest", "flask_limiter", "webargs", "werkzeug"}
DATABASE = {"app.mongo", "app.mongo.client", "app.mongo.blocks", "app.mongo.readiness", "app.mongo.schema", "pymongo"}
# Readiness is about the database itself.
ROUTES_THAT_ASK_THE_DATABASE = {"app.operations.routes"}
# The calls that need no token.
PUBLIC = {
    "auth.register",
    "auth.login",
    "auth.forgot_password",
    "auth.reset_password",
    "session.begin_session",
    "service.get_health",
    "service.get_metrics",
    "service.get_receipt_keys",
    "service.get_readiness",
    "operations.openapi",
    "operations.docs",
    "operations.docs_file",
    "operations.problem",
    "operations.static",
    "web.ask_about_letters",
    "web.asset",
    "web.home",
    "web.page",
    "web.page_within",
    "web.turn_letters_off",
}


@cache
def sources() -> dict[str, Path]:
    """Return the file of every module of the application, by the module's name."""
    packages = (ROOT / "app", ROOT / "local")
    files = [ROOT / "config.py", ROOT / "wsgi.py", *sorted(file for top in packages for file in top.rglob("*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text())


@cache
def imports(module: str) -> frozenset[str]:
    """Return what the module imports: modules of the application by their full names, libraries by their first."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import."
            # `from app import mongo` imports the module app.mongo, `from app.errors import Forbidden` only app.errors.
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            named = [name if name in sources() else str(node.module) for name in named]
        else:
            continue
        yield from (name if name in sources() else name.partition(".")[0] for name in named)


def modules(name: str) -> list[str]:
    """Return the domain modules of this file name, such as every `app.*.routes`."""
    return [module for module in sources() if module.count(".") == 2 and module.endswith(f".{name}")]


def room(module: str) -> str:
    """Return the room that a module is in, as `FLOORS` names it."""
    top, _, rest = module.partition(".")
    return (rest.partition(".")[0] or top) if top == "app" else top


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def is_of_the_web(name: str) -> bool:
    """Tell whether the module depends on Flask."""
    is_http = name.startswith("app.http.") and name != "app.http.proxies"
    return is_http or name in FLASK | {"app.auth.manager", "app.auth.tokens"}


def domain(module: str) -> str:
    return module.rpartition(".")[0]


def of_other_domains(module: str, name: str) -> set[str]:
    """Return what the module imports of the files of this name in other domains."""
    return {other for other in imports(module) if other.endswith(f".{name}") and domain(other) != domain(module)}


def is_standard(name: str) -> bool:
    return name in sys.stdlib_module_names


def test_there_is_something_to_look_at() -> None:
    assert {"config", "wsgi", "app", "app.ledger", "app.ledger.journal", "app.auth.tokens"} <= sources().keys()
    assert imports("app.auth.attempts") >= {"app.auth.repository", "app.errors", "datetime"}
    for name in ("routes", "schemas", "service", "repository"):
        assert len(modules(name)) >= 3


def test_every_room_has_its_floor() -> None:
    assert {room(module) for module in sources()} == set().union(*FLOORS)


def test_imports_run_down_the_floors_only() -> None:
    for module in sources():
        for imported in imports(module) & sources().keys():
            here, there = room(module), room(imported)
            assert here == there or floor(there) < floor(here), f"{module} imports {imported}"


def test_no_imports_run_in_a_circle() -> None:
    order: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in order:
            for imported in sorted(imports(module) & sources().keys()):
                visit(imported, (*path, module))
            order.append(module)

    for module in sources():
        visit(module, ())


def test_every_package_says_what_its_one_job_is() -> None:
    for module, file in sources().items():
        if file.name == "__init__.py":
            assert ast.get_docstring(tree(module)), module


def test_a_package_hands_on_only_what_other_packages_use() -> None:
    for package, names in handed_on().items():
        users = [tree(module) for module in sources() if not f"{module}.".startswith(f"{package}.")]
        users.append(ast.parse((ROOT / "gunicorn.conf.py").read_text()))
        nodes = [node for user in users for node in ast.walk(user)]
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        used |= {
            alias.name
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module == package
            for alias in node.names
        }
        assert names <= used, package


def handed_on() -> dict[str, set[str]]:
    """Return the names in `__all__` of the packages that have it."""
    return {
        module: set(ast.literal_eval(node.value))
        for module in sources()
        for node in tree(module).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    }


def test_nothing_in_the_application_needs_what_only_tests_and_make_run_need(monkeypatch: pytest.MonkeyPatch) -> None:
    of_production = distributions(ROOT / "requirements.txt")
    of_development = distributions(ROOT / "requirements-dev.txt") - of_production
    hidden = {
        top
        for top, owners in packages_distributions().items()
        if {canonical(owner) for owner in owners} <= of_development
    }
    modules = [module for module in sources() if room(module) not in {"local", "wsgi"}]
    program = (
        "import importlib, sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {sorted(hidden)!r}:\n"
        "            raise ModuleNotFoundError(f'{name} is for development only')\n"
        "sys.meta_path.insert(0, Hidden())\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
    )
    assert {"aiosmtpd", "pytest", "hypothesis"} <= hidden

    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr


def distributions(lock: Path) -> set[str]:
    """Return the names of the packages that a lock file pins."""
    return {canonical(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(), flags=re.MULTILINE)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_routes_reach_the_database_through_services_and_repositories() -> None:
    for module in modules("routes"):
        forbidden = set() if module in ROUTES_THAT_ASK_THE_DATABASE else DATABASE
        assert not imports(module) & (forbidden | {"app.ledger", "app.ledger.posting", "app.ledger.repository"}), module
        assert not of_other_domains(module, "repository"), module


def test_routes_are_imported_by_the_application_alone() -> None:
    for module in sources().keys() - {"app"}:
        assert not {name for name in imports(module) if name.endswith(".routes")}, module


def test_services_know_nothing_of_http() -> None:
    for module in modules("service"):
        assert not any(map(is_of_the_web, imports(module))), module
        assert not {name for name in imports(module) if name.endswith((".routes", ".schemas"))}, module


def test_no_domain_reaches_into_anothers_repository() -> None:
    for module in modules("service") + modules("repository") + modules("tokens"):
        # Only the ledger and the outbox know how their records are stored, so others read and write them through these.
        others = of_other_domains(module, "repository") - {"app.ledger.repository", "app.outbox.repository"}
        assert not others, module


def test_services_reach_the_ledger_through_its_front() -> None:
    for module in modules("service"):
        assert not imports(module) & {"app.ledger.posting", "app.ledger.repository", "app.ledger.journal"}, module


def test_repositories_know_the_database_and_what_the_ledger_records() -> None:
    allowed = {f"app.ledger.{name}" for name in ("documents", "records", "repository", "state")}
    allowed |= {"app.mongo", "app.mongo.lists", "app.mongo.reads", "app.mongo.together", "app.clock", "bson", "pymongo"}
    allowed |= {"app.outbox", "app.outbox.feed", "app.outbox.messages", "app.outbox.news"}
    allowed |= {"app.transactions.pages", "app.webhooks.statuses"}
    for module in modules("repository"):
        assert {name for name in imports(module) if not is_standard(name)} <= allowed, module


def test_schemas_do_not_touch_the_database() -> None:
    for module in modules("schemas"):
        forbidden = DATABASE | {"app.ledger", "app.ledger.posting"}
        assert not imports(module) & forbidden, module
        assert not {name for name in imports(module) if is_of_the_web(name)} - {"app.http.paging"}, module
        assert not {name for name in imports(module) if name.endswith((".repository", ".routes"))}, module


def test_the_ledger_knows_neither_the_web_nor_who_writes_what_follows_from_it() -> None:
    for module in sources():
        if room(module) == "ledger":
            assert not any(map(is_of_the_web, imports(module))), module
            assert not {name for name in imports(module) if room(name) in {"audit", "outbox", "mail"}}, module


def test_the_rules_of_the_ledger_are_pure() -> None:
    for module in PURE & sources().keys():
        libraries = {name for name in imports(module) - sources().keys() if not is_standard(name)}
        # The clock's arithmetic is pure; reading the clock is not.
        assert imports(module) & sources().keys() <= PURE | {"app.clock"}, module
        assert libraries <= PURE_LIBRARIES, module
        assert not imports(module) & IMPURE_STANDARD_LIBRARIES, module
        named = {n.attr for n in ast.walk(tree(module)) if isinstance(n, ast.Attribute)}
        named |= {alias.name for n in ast.walk(tree(module)) if isinstance(n, ast.ImportFrom) for alias in n.names}
        assert not {"now", "utcnow", "today"} & named, module


def test_the_rules_of_the_ledger_calculate_without_floats() -> None:
    others = {"app.ledger.documents", "app.ledger.repository", "app.ledger.proof.verify"}
    for module in (PURE | others) & sources().keys():
        for node in ast.walk(tree(module)):
            where = f"{module}:{getattr(node, 'lineno', '?')}"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), where
            assert not (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)), where
            assert not (isinstance(node, ast.Name) and node.id in {"float", "round"}), where


def test_no_code_changes_an_entry() -> None:
    changing = re.compile(r"ledger_entries[\"'\]]*\s*\.\s*(update|replace|delete|drop|find_one_and|bulk_write|rename)")
    for module, file in sources().items():
        assert not changing.search(file.read_text()), module


def test_the_environment_is_read_by_config_alone() -> None:
    for module in sources().keys() - {"config"}:
        assert not imports(module) & {"dotenv", "environs"}, module
        for node in ast.walk(tree(module)):
            # As in `os.environ`. `environ` alone, or of a request, is WSGI's name for the facts of a request.
            is_of_a_request = isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"request", "incoming"}
            name = node.attr if isinstance(node, ast.Attribute) and not is_of_a_request else ""
            assert name not in {"environ", "environb", "getenv", "getenvb"}, f"{module}:{getattr(node, 'lineno', '?')}"


def test_every_domain_has_the_files_of_its_kind_and_no_others() -> None:
    for name in DOMAINS:
        files = {path.stem for path in (ROOT / "app" / name).glob("*.py")}
        assert files <= FILES_OF_A_DOMAIN | FILES_OF_ITS_OWN.get(name, set()), name
        folders = {path.name for path in (ROOT / "app" / name).iterdir() if path.is_dir()} - {"__pycache__"}
        assert folders <= {"static", "templates"}, name


def test_every_route_says_who_may_call_it(app: Flask) -> None:
    declared = {endpoint for endpoint, view in app.view_functions.items() if contract_of(view).access}

    assert app.view_functions.keys() - declared == PUBLIC


@pytest.mark.parametrize(
    ("endpoint", "access"),
    [
        ("accounts.create_account", "token"),
        ("transactions.create_transfer", "token"),
        ("transactions.fund_account", "role SYSTEM"),
        ("auth.logout", "token of the session"),
    ],
)
def test_a_route_declares_the_access_that_guards_it(app: Flask, endpoint: str, access: str) -> None:
    assert contract_of(app.view_functions[endpoint]).access == access


def test_every_change_has_to_pass_the_lint_and_the_tests() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    assert [line for line in lines if line.startswith("make ")] == ["make --jobs=2 lint tools", "make test"]

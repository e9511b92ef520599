"""The page's modules that need no browser: reading and writing amounts, account numbers, payment files."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.money import format_amount
from app.web.assets import CUSTOMS, STATIC, made
from clients.currencies import table
from tests.node import NODE

Call = Callable[..., Any]

# Calls a module's function with each list of arguments, and writes what came of them. BigInts travel as strings.
RUNNER = """
import { readFileSync } from "node:fs";
globalThis.BroadcastChannel = undefined;
globalThis.document = { getElementById: () => null, createElement: () => null };
globalThis.addEventListener = () => {};
const isBig = (value) => typeof value === "string" && /^-?\\d+n$/.test(value);
const revive = (key, value) => (isBig(value) ? BigInt(value.slice(0, -1)) : value);
const calls = JSON.parse(readFileSync(0, "utf8"), revive);
const results = [];
for (const [module, name, args] of calls) results.push((await import(`./${module}.js`))[name](...args) ?? null);
console.log(JSON.stringify(results, (key, value) => (typeof value === "bigint" ? `${value}n` : value)));
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """A function of one of the page's modules, called with each of many lists of arguments, in one Node.js."""
    folder = tmp_path_factory.mktemp("page") / "static"
    shutil.copytree(STATIC, folder)
    for name, text in made("INR").items():
        (folder / name).write_text(text)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "runner.js").write_text(RUNNER)
    return lambda module, name, *calls: run(folder, [(module, name, args) for args in calls])


def test_the_pages_files_are_read_alike_in_every_locale() -> None:
    hashed = "from app.web.assets import assets; print(assets('INR').hash)"
    locales = [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"PYTHONUTF8": "1"}]
    hashes = [
        subprocess.run(
            [sys.executable, "-c", hashed],
            cwd=STATIC.parents[2],
            env=os.environ | locale,
            check=True,
            capture_output=True,
        ).stdout
        for locale in locales
    ]
    assert hashes[0] == hashes[1]


def run(folder: Path, calls: list[Any]) -> Any:
    done = subprocess.run(
        [NODE, "runner.js"],
        cwd=folder,
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ = {
    ("12500", "INR"): 1_250_000,
    ("1,23,456.50", "INR"): 12_345_650,
    ("1,234", "INR"): 123_400,
    ("1,234,567.5", "INR"): 123_456_750,
    ("12,5", "INR"): 1_250,
    ("12,50", "INR"): 1_250,
    ("1.500,00", "INR"): 150_000,
    ("₹ 1 234,50", "INR"): 123_450,
    ("Rs. 500", "INR"): 50_000,
    ("INR 5", "INR"): 500,
    (".5", "INR"): 50,
    ("5.", "INR"): 500,
    ("１２", "INR"): 1_200,
    ("1.234", "KWD"): 1_234,
    ("1,234.567", "KWD"): 1_234_567,
    ("1.234,567", "KWD"): 1_234_567,
    ("0,500", "KWD"): 500,
    ("KWD 5", "KWD"): 5_000,
    ("1,234", "JPY"): 1_234,
    ("1,234.00", "JPY"): 1_234,
    ("¥500", "JPY"): 500,
    ("9007199254740991", "JPY"): 9_007_199_254_740_991,
    ("5€", "EUR"): 500,
    ("1.234.567", "EUR"): 123_456_700,
    ("1’234.50", "CHF"): 123_450,
}
ASKED_BACK = {
    ("1,234", "KWD"): [1_234_000, 1_234],
    ("1,000", "CLF"): [10_000_000, 10_000],
    ("1.234", "INR"): [123_400],
    ("1.234", "JPY"): [1_234],
}
REFUSED = {
    ("", "INR"): "Type an amount.",
    ("0", "INR"): "above zero",
    ("-5", "INR"): "without a minus sign",
    ("1e5", "INR"): "in digits",
    ("five", "INR"): "in digits",
    ("$5", "INR"): "in Indian rupees",
    ("EUR 5", "INR"): "in Indian rupees",
    ("12.5", "JPY"): "no smaller unit",
    ("1.2345", "INR"): "2 digits after the point",
    ("1,2,3", "INR"): "do not fit together",
    ("12,34,567", "EUR"): "do not fit together",
    ("9007199254740992", "JPY"): "more than the bank can count",
}


def test_amounts_are_read_as_people_write_them(call: Call) -> None:
    results = call("kit/money", "parse", *READ)
    assert dict(zip(READ, results, strict=True)) == {key: {"amount": f"{amount}n"} for key, amount in READ.items()}


def test_what_can_be_read_in_two_ways_is_asked_back(call: Call) -> None:
    results = call("kit/money", "parse", *ASKED_BACK)
    assert [one["choices"] for one in results] == [[f"{amount}n" for amount in some] for some in ASKED_BACK.values()]
    assert all("fault" in one and "amount" not in one for one in results)


def test_what_is_no_amount_is_refused_in_words(call: Call) -> None:
    for (asked, words), result in zip(REFUSED.items(), call("kit/money", "parse", *REFUSED), strict=True):
        assert words in result["fault"], asked


def test_amounts_are_written_as_the_bank_writes_them_in_its_letters_and_read_back(call: Call) -> None:
    cases = [
        (amount, code)
        for code in ("INR", "JPY", "KWD", "CHF", "EUR", "XAF")
        for amount in (1, 99, 123_456_789, 9_007_199_254_740_991)
    ]
    written = call("kit/money", "format", *[(f"{amount}n", code) for amount, code in cases])
    assert written == [format_amount(amount, code) for amount, code in cases]
    read = call("kit/money", "parse", *[(text, code) for text, (_, code) in zip(written, cases, strict=True)])
    assert read == [{"amount": f"{amount}n"} for amount, _ in cases]


def test_the_page_writes_every_currency_as_the_bank_does() -> None:
    assert CUSTOMS.read_text() == table(), "Run `make currencies`."


def test_amounts_are_repeated_in_words(call: Call) -> None:
    cases = {
        ("1250000n", "INR"): "Twelve thousand five hundred rupees",
        ("1250050n", "INR"): "Twelve thousand five hundred rupees and fifty paise",
        ("12345678901n", "INR"): "Twelve crore thirty-four lakh fifty-six thousand seven hundred and eighty-nine rupees"
        " and one paisa",
        ("500n", "JPY"): "Five hundred yen",
        ("1250n", "KWD"): "One dinar and two hundred and fifty fils",
        ("100000001n", "EUR"): "One million euros and one cent",
    }
    assert call("kit/numerals", "inWords", *cases) == list(cases.values())


def test_a_file_of_payments_is_read_as_spreadsheets_write_it(call: Call) -> None:
    text = '\ufeffTo;Amount;Note\r\n"FC64 0012";1,5;"Rent; ""May"""\r\n\r\n'
    assert call("kit/csv", "parseCsv", (text,)) == [[["To", "Amount", "Note"], ["FC64 0012", "1,5", 'Rent; "May"']]]
    assert call("kit/csv", "toCsv", ([["=1+1", 'a"b', "c,d"]],)) == ['\ufeff\'=1+1,"a""b","c,d"\r\n']


# As segno 1.6.6 draws it: version 1, error correction M, mask 0.
QR_CODE = """
111111100000001111111
100000101001101000001
101110100101101011101
101110100011001011101
101110101101101011101
100000100111001000001
111111101010101111111
000000000100000000000
101010100010100010010
101101000011010011001
011000100001010010110
011001001111111100111
101010100111001100100
000000001011000001011
111111100000111110001
100000100011001101010
101110101100101000100
101110100011010111010
101110101010001000101
100000100001110001011
111111101001111110101
"""


def test_an_account_number_becomes_the_qr_code_that_others_draw(call: Call) -> None:
    (drawn,) = call("kit/qr", "modules", ("FC27004122978810",))
    assert ["".join("01"[is_dark] for is_dark in row) for row in drawn] == QR_CODE.split()


def test_a_mistyped_account_number_is_named(call: Call) -> None:
    good, mistyped, short = call("kit/people", "readNumber", ("fc13 4839 2017 5634",), ("FC13483920175643",), ("FC13",))
    assert good == {"number": "FC13483920175634"}
    assert "mistake" in mistyped["fault"]
    assert "FC and 14 digits" in short["fault"]

"""A few seeds of the simulator. The laws hold, a seed repeats exactly, and a broken bank is detected."""

import os
import subprocess
import sys

import pytest

from config import ROOT

# Any seed would do. Together these have every kind of fault.
SEED, SEEDS, STEPS = 41, 4, 1_200
# How many seeds a broken bank may pass undetected. Most breakages show in the first.
SEEDS_MAX = 80


def simulate(*arguments: object, hash_seed: str = "random") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulator", *map(str, arguments)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def first_run() -> subprocess.CompletedProcess[str]:
    return simulate("--seed", SEED, "--seeds", SEEDS, "--steps", STEPS, "-v")


def test_the_laws_hold_whatever_fails(first_run: subprocess.CompletedProcess[str]) -> None:
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    assert first_run.stdout.count("COMPLETED") == SEEDS


def test_a_seed_repeats_to_the_byte(first_run: subprocess.CompletedProcess[str]) -> None:
    last = SEED + SEEDS - 1

    again = simulate("--seed", last, "--steps", STEPS, "-v", hash_seed="7")

    assert again.stdout.startswith(f"seed {last}: ")
    assert first_run.stdout.endswith(again.stdout)


@pytest.mark.parametrize(
    ("breakage", "seed", "verdict"),
    [
        ("no_majority", 1, "told of an outcome that a majority does not have"),
        ("no_key_index", 1, "a key was spent twice"),
        ("letters_before_commit", 1, "a letter about what was never committed"),
        ("witness_outside", 1, "acts are not in the audit log"),
        ("head_outside", 2085, "money moved on an account that is not ACTIVE"),
        ("retry_without_key", 2, "what was asked for once was done twice"),
    ],
)
def test_a_broken_bank_is_found_out(breakage: str, seed: int, verdict: str) -> None:
    run = simulate("--seed", seed, "--seeds", SEEDS_MAX, "--steps", STEPS, "--breakage", breakage)

    assert run.returncode == 1, run.stderr
    assert f"Wrong: {verdict}" in run.stdout

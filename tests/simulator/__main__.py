"""`python -m tests.simulator`: simulate seeds, stop at the first that breaks a law, and show how it came to that."""

import argparse
import os
import sys
import time
import traceback

TRACE_LINES = 60


def main() -> None:
    arguments = _arguments()
    # The order of some sets depends on this.
    if os.environ.get("PYTHONHASHSEED") != "0":
        again = [sys.executable, "-m", "tests.simulator", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606 (this program)
    from tests.simulator import breakages

    if arguments.breakage:
        breakages.apply(arguments.breakage)
    begun, steps = time.process_time(), 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        steps += simulate(seed, arguments.steps, tells=arguments.v)
    seconds = time.process_time() - begun
    pace = f"{seconds:.1f} s of processor time, {steps / seconds * 60:,.0f} steps a minute"
    print(f"{arguments.seeds} seeds, {steps:,} steps, {pace}: all laws held", file=sys.stderr)


def simulate(seed: int, steps: int, *, tells: bool) -> int:
    """Run one seed and return how many steps it took; exit with the story if a law was broken."""
    from tests.simulator.books import Wrong
    from tests.simulator.setting import set_up
    from tests.simulator.world import World

    world = World(seed)
    set_up(world, seed)
    try:
        world.run(steps)
    except (Wrong, Exception) as wrong:
        if not isinstance(wrong, Wrong):
            traceback.print_exc()
        print(*list(world.schedule.trace)[-TRACE_LINES:], sep="\n")
        print(f"seed {seed}, step {world.schedule.steps}: {type(wrong).__name__}: {wrong}")
        print(f"trace {world.schedule.digest}")
        print(f"Once more: make simulate SEED={seed} STEPS={steps}")
        sys.exit(1)
    if tells:
        print(f"seed {seed}: {world.schedule.steps} steps, {world.summary}, trace {world.schedule.digest}")
        print(f"  {world.chosen}")
    return world.schedule.steps


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, each in a world of its own")
    parser.add_argument("--steps", type=int, default=2_000, help="the steps of each seed before it comes to rest")
    parser.add_argument("--breakage", help="break the bank in this way first; it must then fail")
    parser.add_argument("-v", action="store_true", help="say what each seed was about")
    return parser.parse_args()


if __name__ == "__main__":
    main()

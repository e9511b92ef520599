"""`python -m tests.drills`: damage a bank under load in one way after another. Nothing may be lost or doubled."""

import argparse
import json
import sys

from tests.drills.drills import DRILLS, TOGETHER
from tests.drills.rounds import NotRun, Result, run


def main() -> None:
    arguments = _arguments()
    groups = [[name] for name in arguments.name] or TOGETHER
    if arguments.together:
        groups = [arguments.name]
    is_clean = True
    for names in groups:
        drills = [DRILLS[name] for name in names]
        try:
            results = run(drills, arguments.rounds, seconds_max=arguments.seconds_max, breakage=arguments.breakage)
        except NotRun as reason:
            results = [Result(name, not_run=str(reason)) for name in names]
        for result in results:
            print(json.dumps(result.row()), flush=True)
            for fault in [*result.lost, *result.doubled, *result.wrong][:20]:
                print(f"  {fault}", flush=True)
        is_clean &= all(result.is_clean for result in results)
    sys.exit(0 if is_clean else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--name", choices=DRILLS, nargs="*", default=[], help="only these drills")
    parser.add_argument("--together", action="store_true", help="in turn on one bank, which suits the first of them")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds-max", type=float, default=3600.0, help="begin no round on a bank after this time")
    parser.add_argument("--breakage", help="break the bank in this way first; it must then fail")
    return parser.parse_args()


if __name__ == "__main__":
    main()

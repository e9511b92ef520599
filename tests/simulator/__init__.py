"""A simulated bank: the real ledger on a scripted database and a scripted clock, judged after every step.

One seed decides everything that happens, in one process and without real threads, so a run
can be repeated to the byte. `python -m tests.simulator --help`, or `make simulate`.
"""

"""Measures the bank's speed, as ratios within one run."""

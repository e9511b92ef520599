"""What is said to be fast, measured as ratios within one run."""

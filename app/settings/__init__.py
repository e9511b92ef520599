"""The settings of each part of the bank as one policy, and what makes a value fit to start with."""

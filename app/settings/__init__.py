"""The settings of each part of the bank as one policy, and the checks of single values."""

"""Drills: long runs against a real bank that are started by hand. A short form of each is a test of the suite."""

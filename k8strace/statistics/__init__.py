"""Errors of estimates: blocks of time, leave-one-out, tests of many rows at once, and rounding that keeps sums."""

"""How sure a number is: blocks of time, errors by leaving one out, many tests at once, and rounding that keeps sums."""

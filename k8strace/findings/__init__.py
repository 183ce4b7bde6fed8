"""Requests → what is wrong, in words, with its cost in ns."""

"""Batches that survive: frames, segments, the thread that writes them, and what is read back after a start."""

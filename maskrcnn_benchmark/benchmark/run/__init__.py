"""Runs the rows: which ones, in which processes, kept after every row, continued where a run stopped."""

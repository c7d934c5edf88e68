"""Detectors from Python, in one line."""

"""Pieces of pages: each page is one HTML file that opens offline, without script, and loads nothing.

Nothing here knows what a page shows.
"""

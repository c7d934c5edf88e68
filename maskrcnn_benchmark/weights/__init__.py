"""Weights files of many sources: read without executing code, converted, catalogued, published."""

"""The benchmark table: one command measures every row into results.json; the reports are made from it."""

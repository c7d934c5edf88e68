"""The benchmark table: one command measures every row into results.json; the reports are made from it.

The files here are the schema that the floors share. measure/ measures one detector, run/ runs all rows in
processes of their own, report/ makes Markdown and HTML of the results.
"""

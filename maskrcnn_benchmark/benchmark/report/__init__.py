"""From results.json to table.md, report.html, README's table, and what changed between two runs."""

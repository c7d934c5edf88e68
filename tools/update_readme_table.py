"""`maskrcnn-benchmark readme-table`, at its old path."""

import sys

from maskrcnn_benchmark.commands.readme_table import main

if __name__ == "__main__":
    sys.exit(main())

"""`maskrcnn-benchmark test`, at the family's path."""

import sys

from maskrcnn_benchmark.commands.test import main

if __name__ == "__main__":
    sys.exit(main())

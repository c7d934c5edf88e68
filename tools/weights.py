"""`maskrcnn-benchmark weights`, at its old path."""

import sys

from maskrcnn_benchmark.commands.weights import main

if __name__ == "__main__":
    sys.exit(main())

"""`maskrcnn-benchmark benchmark`, at its old path."""

import sys

from maskrcnn_benchmark.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())

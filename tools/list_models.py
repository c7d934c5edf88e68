"""`maskrcnn-benchmark models list`, at its old path."""

import sys

from maskrcnn_benchmark.commands.models import main

if __name__ == "__main__":
    sys.exit(main(["list", *sys.argv[1:]]))

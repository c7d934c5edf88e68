"""`maskrcnn-benchmark quickstart`, at its old path."""

import sys

from maskrcnn_benchmark.commands.quickstart import main

if __name__ == "__main__":
    sys.exit(main())

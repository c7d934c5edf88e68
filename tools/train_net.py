"""`maskrcnn-benchmark train`, at the family's path."""

import sys

from maskrcnn_benchmark.commands.train import main

if __name__ == "__main__":
    sys.exit(main())

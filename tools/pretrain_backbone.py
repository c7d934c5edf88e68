"""`maskrcnn-benchmark pretrain`, at its old path."""

import sys

from maskrcnn_benchmark.commands.pretrain import main

if __name__ == "__main__":
    sys.exit(main())

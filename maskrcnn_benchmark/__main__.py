"""`python -m maskrcnn_benchmark NAME ...`: as the command `maskrcnn-benchmark`."""

import sys

from maskrcnn_benchmark.commands.front_door import main

if __name__ == "__main__":
    sys.exit(main())

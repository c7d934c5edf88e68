"""`maskrcnn-benchmark weights`, at its old path."""

import signal
import sys

from maskrcnn_benchmark.commands.weights import main

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `list | head` ends quietly
    sys.exit(main())

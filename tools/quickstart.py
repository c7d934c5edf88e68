"""`maskrcnn-benchmark quickstart`, at its old path."""

from maskrcnn_benchmark.commands.quickstart import main

if __name__ == "__main__":
    main()

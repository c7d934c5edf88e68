"""The commands of `maskrcnn-benchmark`, one a file: each has `make_parser()` and `main(argv)`."""

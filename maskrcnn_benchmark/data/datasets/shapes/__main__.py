"""`python -m maskrcnn_benchmark.data.datasets.shapes --root FOLDER` draws the dataset."""

from maskrcnn_benchmark.data.datasets.shapes.draw import main

if __name__ == "__main__":
    main()

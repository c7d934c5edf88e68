"""The family's path to the catalogues of datasets and of weights."""

from maskrcnn_benchmark.data.datasets.catalogue import ROOT_VARIABLE, DatasetCatalog
from maskrcnn_benchmark.weights.sources.catalogue import ModelCatalog

__all__ = ["ROOT_VARIABLE", "DatasetCatalog", "ModelCatalog"]

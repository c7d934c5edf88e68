"""A user's own catalogue of weights: the class ModelCatalog of the file that PATHS_CATALOG names."""

from __future__ import annotations

from typing import Any

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.utils.user_module import import_user_module
from maskrcnn_benchmark.weights.sources.catalogue import CATALOG, ModelCatalog


def build_weights_name(cfg: ConfigNode) -> str:
    """MODEL.WEIGHT; of a catalog:// name, the path or address that the user's own ModelCatalog gives.

    Raises:
        ValueError: PATHS_CATALOG fails, or its catalogue does not know the name.
    """
    weight: str = cfg.MODEL.WEIGHT
    if not cfg.PATHS_CATALOG or not weight.startswith(CATALOG):
        return weight
    module = import_user_module(cfg.PATHS_CATALOG, "PATHS_CATALOG")
    catalog: Any = getattr(module, "ModelCatalog", ModelCatalog)
    if catalog is ModelCatalog:
        return weight
    name = weight.removeprefix(CATALOG)
    try:
        return str(catalog.get(name))
    except Exception as error:  # whatever a user's file raises, that file or the name must be mended
        raise ValueError(
            f"MODEL.WEIGHT = {weight!r}: ModelCatalog.get({name!r}) of PATHS_CATALOG = "
            f"{cfg.PATHS_CATALOG!r}: {type(error).__name__}: {error}"
        ) from error

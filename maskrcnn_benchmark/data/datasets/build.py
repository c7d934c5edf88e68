"""From the name of a dataset in a config to the dataset."""

from __future__ import annotations

from typing import Any

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.datasets.catalogue import DatasetCatalog, DatasetEntry
from maskrcnn_benchmark.data.datasets.detection_dataset import DetectionDataset, OpenOptions
from maskrcnn_benchmark.data.datasets.registry import DATASETS
from maskrcnn_benchmark.data.datasets.validation import DatasetError
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.utils.user_module import import_user_module


def build_dataset(cfg: ConfigNode, name: str, is_train: bool) -> DetectionDataset:
    """Opens a dataset and checks it against the config.

    `name` is one of the catalogue (PATHS_CATALOG's, or ours), annotations.json@image_folder for COCO's
    format, or kind://location for any kind of `DATASETS`.

    Raises:
        ValueError: an unknown name or kind; a PATHS_CATALOG that fails.
        DatasetError: files that are missing or wrong, another number of classes than the config's, no image.
    """
    entry, advice = _build_entry(cfg, name)
    options = OpenOptions(
        name=name,
        advice=advice,
        is_train=is_train,
        keep_empty=not (is_train and cfg.DATALOADER.FILTER_EMPTY),
        masks=cfg.MODEL.MASK_ON,
        transforms=build_transforms(cfg, is_train),
        pixel_bits=cfg.INPUT.PIXEL_BITS,
    )
    dataset: DetectionDataset = DATASETS[entry["factory"]](entry["args"], options)
    found, configured = len(dataset.class_names), cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
    if found != configured:
        raise DatasetError(
            f"{dataset.source}: {found - 1} categories and the background make {found} classes, but "
            f"MODEL.ROI_BOX_HEAD.NUM_CLASSES is {configured}; set MODEL.ROI_BOX_HEAD.NUM_CLASSES {found}"
        )
    if len(dataset) == 0:
        why = dataset.why_empty() if isinstance(dataset, DetectionDataset) else ""
        mend = "add images, or set DATALOADER.FILTER_EMPTY False to keep those without objects"
        raise DatasetError(
            f"{dataset.source}: no image is left to {'train' if is_train else 'test'} on; {why or mend}"
        )
    return dataset


def _build_entry(cfg: ConfigNode, name: str) -> tuple[DatasetEntry, str]:
    """What a dataset is made from, and advice for files that are missing.

    The user's module is imported whatever the name: it may register kinds, evaluators and transforms.
    """
    catalog: Any = DatasetCatalog
    if cfg.PATHS_CATALOG:
        module = import_user_module(cfg.PATHS_CATALOG, "PATHS_CATALOG")
        catalog = getattr(module, "DatasetCatalog", DatasetCatalog)
    if catalog is DatasetCatalog or "@" in name or "://" in name:
        return DatasetCatalog.get(name), DatasetCatalog.advice(name)
    where = f"PATHS_CATALOG = {cfg.PATHS_CATALOG!r}: DatasetCatalog.get({name!r})"
    try:
        entry = catalog.get(name)
    except Exception as error:  # whatever a user's file raises, that file or the name must be mended
        raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
    if not isinstance(entry, dict) or not {"factory", "args"} <= set(entry):
        raise ValueError(f"{where} gives {entry!r}; it should be {{'factory': KIND, 'args': {{...}}}}")
    return {"factory": entry["factory"], "args": entry["args"]}, f"correct what {where} gives"

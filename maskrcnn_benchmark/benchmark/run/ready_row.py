"""From a job to a row that is ready to be measured: the detector, its images and its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from maskrcnn_benchmark.benchmark.measure.accuracy import Scoring
from maskrcnn_benchmark.benchmark.measure.images import Images, make_images
from maskrcnn_benchmark.benchmark.measure.peers import TorchvisionDetector, build_torchvision
from maskrcnn_benchmark.benchmark.measure.subject import OurDetector, Subject
from maskrcnn_benchmark.benchmark.measure.training import make_plain_optimizer
from maskrcnn_benchmark.benchmark.results import Settings
from maskrcnn_benchmark.benchmark.row import OURS
from maskrcnn_benchmark.benchmark.run.job import Job
from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets.evaluation import make_evaluators
from maskrcnn_benchmark.engine.full_test import make_evaluation_options
from maskrcnn_benchmark.engine.precision import resolve_precision
from maskrcnn_benchmark.modeling.detector import Detector, build_detection_model
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.user_module import import_user_modules
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.load import Purpose


@dataclass
class ReadyRow:
    """A row's parts. scoring: None where AP cannot be measured."""

    subject: Subject
    images: Images
    weights: str | None
    optimizer: Callable[[], torch.optim.Optimizer]
    scoring: Scoring | None

    def load_weights(self) -> str:
        """Loads the weights, or gives random ones a realistic load; says where the load comes from.

        Raises:
            ValueError: the file does not fit the row.
        """
        if self.weights is None:
            return self.subject.scale_random_weights(self.images)
        classes = self.scoring.data_loaders[0].dataset.class_names if self.scoring else None
        Checkpointer(self.subject.model, class_names=classes).load(self.weights, Purpose.USE)
        return f"weights of {Path(self.weights).name}, images: {self.images.source}"


def row_options(settings: Settings, dtype: str, device: str, folder: str) -> list[str]:
    """What every row's config gets: the same image size, dtype and device for all."""
    dataset = [] if settings.dataset is None else ["DATASETS.TEST", f"('{settings.dataset}',)"]
    return [
        *("INPUT.MIN_SIZE_TEST", str(settings.short_side), "INPUT.MAX_SIZE_TEST", str(settings.long_side)),
        *("INPUT.MIN_SIZE_TRAIN", f"({settings.short_side},)"),
        *("INPUT.MAX_SIZE_TRAIN", str(settings.long_side)),
        *("DTYPE", dtype, "MODEL.DEVICE", device, "OUTPUT_DIR", folder, *dataset),
    ]


def make_ready_row(job: Job, device: torch.device) -> ReadyRow:
    """The job's detector, ours or a peer's, on the images of the row.

    Raises:
        ValueError: a config or dataset that does not fit.
    """
    return (_make_ours if job.implementation == OURS else _make_peer)(job, device)


def _make_ours(job: Job, device: torch.device) -> ReadyRow:
    """This project's detector of the job's config."""
    cfg = load_config(job.config, row_options(job.settings, job.dtype, job.device, job.folder))
    import_user_modules(cfg.IMPORTS)
    model = build_detection_model(cfg).to(device)
    precision = resolve_precision(job.dtype, device, training=False)
    subject = OurDetector(model, device, precision, cfg.DATALOADER.SIZE_DIVISIBILITY)
    images = make_images(cfg, job.settings.dataset, job.settings.seed)
    scoring = _make_scoring(cfg, job.settings.dataset, device, model) if job.weights else None
    return ReadyRow(subject, images, job.weights, lambda: make_optimizer(cfg, model), scoring)


def _make_peer(job: Job, device: torch.device) -> ReadyRow:
    """torchvision's detector of the job's row, on the images that the row itself gets."""
    settings = job.settings
    cfg = load_config(job.config, row_options(settings, job.dtype, job.device, job.folder))
    images = make_images(cfg, settings.dataset, settings.seed)
    num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
    model = build_torchvision(job.detector, num_classes, settings.short_side, settings.long_side).to(device)
    precision = resolve_precision(job.dtype, device, training=True)  # its layers know no 16-bit integers
    subject = TorchvisionDetector(model, device, precision)
    return ReadyRow(subject, images, None, lambda: make_plain_optimizer(model), None)


def _make_scoring(
    cfg: ConfigNode, dataset: str | None, device: torch.device, model: Detector
) -> Scoring | None:
    if dataset is None:
        return None
    loaders = make_data_loader(cfg, is_train=False, is_distributed=comm.is_distributed())
    evaluators = make_evaluators(cfg, loaders, model.iou_types)
    options = make_evaluation_options(cfg, device, model.kind, model.iou_types)
    return Scoring(dataset, loaders, evaluators, options)

"""A detector from one file: weights, config and class names come with it."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.config import ConfigNode, load_config_text
from maskrcnn_benchmark.data.transforms.transforms import Resize
from maskrcnn_benchmark.engine.precision import Precision, resolve_precision, set_precision
from maskrcnn_benchmark.modeling.detector import Detector, build_detection_model
from maskrcnn_benchmark.models.image_input import Image, as_pixels
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.user_module import import_user_modules
from maskrcnn_benchmark.weights.load import LoadOptions, Purpose, load_weights
from maskrcnn_benchmark.weights.provenance import provenance_of
from maskrcnn_benchmark.weights.publish import config_inside
from maskrcnn_benchmark.weights.sources.resolve import read_named


class LoadedDetector:
    """A detector ready for images.

        detector = load_detector("model_final.safetensors")
        for boxes in detector(["street.jpg"]):
            names = [detector.class_names[label] for label in boxes.get_field("labels")]

    Attributes:
        model: the detector in evaluation mode. config: the one it was trained with.
        class_names: by label, the background first; None where the file does not hold them.
    """

    def __init__(
        self,
        model: Detector,
        config: ConfigNode,
        class_names: tuple[str, ...] | None,
        min_size: int,
        max_size: int,
        precision: Precision,
    ) -> None:
        """`min_size`, `max_size`: pixels that images are scaled to, as in Resize."""
        self.model = model
        self.config = config
        self.class_names = class_names
        self.min_size, self.max_size = min_size, max_size
        self.precision = precision
        set_precision(model, precision)

    @property
    def cfg(self) -> ConfigNode:
        """The config, by the family's name."""
        return self.config

    @torch.no_grad()
    def __call__(self, images: Image | Sequence[Image]) -> list[BoxList]:
        """Detections of images, each in the image's own frame.

        Args:
            images: one, or a list or tuple of several; a path, a PIL image, an array [H, W, 3] of uint8 in
                blue, green, red (as cv2.imread gives), or a tensor [3, H, W] of such.

        Returns:
            A BoxList an image, on the CPU, by descending score, with scores, labels and, with a mask head,
            mask (probabilities [n, 1, M, M]; `layers.mask_ops.paste_masks_rle` pastes them into the image).

        Raises:
            ValueError: a file that is no image, or pixels of another kind; it says which, and what to give.
        """
        several: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        device = self.model.pixel_mean.device
        found = []
        for image in _all_as_pixels(several, self.config.INPUT.PIXEL_BITS):
            batch = to_image_list([self._resize(image)], self.model.size_divisible).to(device)
            with self.precision.autocast(device):
                (boxes,) = self.model(batch)
            assert isinstance(boxes, BoxList)
            found.append(boxes.to("cpu").resize((image.shape[2], image.shape[1])))
        return found

    def _resize(self, image: Tensor) -> Tensor:
        """The image at the size the detector was tested at."""
        frame = BoxList([], (image.shape[2], image.shape[1]))
        return Resize(self.min_size, self.max_size)(image, frame, random.Random())[0]


def load_detector(
    file: str | os.PathLike[str],
    device: str | torch.device = "auto",
    options: Sequence[object] | Mapping[str, object] = (),
) -> LoadedDetector:
    """The detector that a checkpoint or published file of this project holds.

    Args:
        file: a path, or a catalog://, https:// or hf:// name. device: as MODEL.DEVICE, or a torch.device.
        options: config keys and values, such as {"MODEL.ROI_HEADS.SCORE_THRESH": 0.5}, or a list of them in
            turn, as on a command line; with {"IMPORTS": ("my_module",)}, your own module is imported first.

    Raises:
        ValueError: device or options are something else; the file cannot be used, is a body alone, or holds
            no config; the message says what to do.
    """
    chosen = [*_as_list(options), "MODEL.DEVICE", _device_name(device)]
    raw = read_named(file)
    config = load_config_text(config_inside(raw), str(raw.path), chosen)
    detector = _build_detector(config, provenance_of(raw).class_names)
    load_weights(detector.model, raw, LoadOptions(Purpose.USE))
    return detector


def _build_detector(cfg: ConfigNode, class_names: tuple[str, ...] | None) -> LoadedDetector:
    """The detector with initial values."""
    import_user_modules(cfg.IMPORTS)  # those that the caller named; see load_config_text
    device = resolve_device(cfg.MODEL.DEVICE)
    model = build_detection_model(cfg).to(device).eval()
    sizes = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    precision = resolve_precision(cfg.DTYPE, device, training=False)
    return LoadedDetector(model, cfg, class_names, *sizes, precision)


def _all_as_pixels(images: Sequence[Any], pixel_bits: int) -> list[Tensor]:
    """Every image as pixels, before the first is computed with; a refusal says which one it is about."""
    pixels = []
    for number, image in enumerate(images):
        try:
            pixels.append(as_pixels(image, pixel_bits))
        except ValueError as error:
            if len(images) == 1:
                raise
            raise ValueError(f"images[{number}]: {error}") from error
    return pixels


def _as_list(options: object) -> list[Any]:
    """Keys and values in turn."""
    if isinstance(options, Mapping):
        return [item for pair in options.items() for item in pair]
    if not isinstance(options, (list, tuple)):
        raise ValueError(
            f"options = {options!r}: a dictionary of config keys and values, such as "
            '{"MODEL.ROI_HEADS.SCORE_THRESH": 0.5}, or a list of them in turn'
        )
    return list(options)


def _device_name(device: object) -> str:
    """As MODEL.DEVICE has it; "cpu:0" is the CPU."""
    if not isinstance(device, (str, torch.device)):
        raise ValueError(f"device = {device!r}: give 'auto', 'cpu', 'cuda', 'cuda:0', or a torch.device")
    if isinstance(device, torch.device):
        return "cpu" if device.type == "cpu" else str(device)
    return device

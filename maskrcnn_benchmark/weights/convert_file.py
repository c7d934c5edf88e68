"""Weights of another project as weights of this one, for a file of their own."""

from __future__ import annotations

from torch import Tensor, nn

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.converters import convert
from maskrcnn_benchmark.weights.converters.converted import Converted
from maskrcnn_benchmark.weights.fold import PixelStatistics, adapt_batch_norm_eps, fold_pixels
from maskrcnn_benchmark.weights.foreign_detectors import refuse_foreign_detector
from maskrcnn_benchmark.weights.load_checks import check_finite, in_single_precision
from maskrcnn_benchmark.weights.sources.read import RawFile
from maskrcnn_benchmark.weights.unwrap import unwrap

# What the family's networks take for an image: the defaults of INPUT.PIXEL_MEAN and PIXEL_STD.
FAMILY_PIXELS = PixelStatistics("bgr", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))


def rewrite(raw: RawFile, body: str = "", pixels: PixelStatistics = FAMILY_PIXELS) -> Converted:
    """The weights of a file under this project's names, for frozen batch norms and `pixels`.

    Args:
        body: what the file must be ("V-39"); "" accepts any.

    Raises:
        ValueError: of another body, not finite, a detector that is not converted, or of no project that is
            known here.
    """
    where = f"weights of {raw.path}"
    state = in_single_precision(unwrap(raw).state, [], where)
    check_finite(state, where)
    refuse_foreign_detector(state, where)
    found = convert(state) or _of_the_family(state, raw.kind, where)
    name = found.body or recognize_body(found.state)
    if body and name != body:
        raise ValueError(f"{where}: this file is {name or 'of an unknown body'}, not {body}")
    weights = dict(found.state)
    try:
        if found.pixels is not None:
            weights = fold_pixels(weights, found.pixels, pixels)
        weights = adapt_batch_norm_eps(weights, found.batch_norm_eps, nn.Module())
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"{where}: the names of {found.source}, but not its shapes: {error}") from error
    return Converted(
        state=weights,
        source=found.source,
        body=name,
        is_detector=found.is_detector,
        batch_norm_eps=0.0,
        pixels=None,
        dropped=found.dropped,
        class_names=found.class_names,
        requires=found.requires + (_settings_of(pixels) if found.pixels is not None else ()),
        notes=found.notes,
    )


def _settings_of(pixels: PixelStatistics) -> tuple[tuple[str, object], ...]:
    """The config under which weights folded for `pixels` compute what they should."""
    scale = 1.0 if pixels.order == "bgr" else 255.0  # red, green, blue come in 0..1
    return (
        ("INPUT.TO_BGR255", pixels.order == "bgr"),
        ("INPUT.PIXEL_MEAN", [value / scale for value in pixels.mean]),
        ("INPUT.PIXEL_STD", [value / scale for value in pixels.std]),
    )


def _of_the_family(state: dict[str, Tensor], kind: str, where: str) -> Converted:
    """A detector or body whose names are this project's already."""
    body = recognize_body(state)
    if body is None:
        raise ValueError(
            f"{where}: names of no project that is known here: {', '.join(sorted(state)[:4])}, ...; "
            "docs/weights.md lists what is known"
        )
    if not any(name.startswith(BODY_PREFIX) for name in state):
        state = {BODY_PREFIX + name: tensor for name, tensor in state.items()}
    is_detector = not all(name.startswith(BODY_PREFIX) for name in state)
    source = f"{kind} in the family's names"
    return Converted(state, source, body, is_detector, 0.0, None, ())

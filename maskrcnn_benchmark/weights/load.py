"""Loads the weights of any file into a model: all of it, all of its body, or a refusal."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.classes import fit_classes
from maskrcnn_benchmark.weights.converters import convert
from maskrcnn_benchmark.weights.converters.converted import Converted
from maskrcnn_benchmark.weights.fold import adapt_batch_norm_eps, fold_pixels, pixel_statistics
from maskrcnn_benchmark.weights.foreign_detectors import refuse_foreign_detector
from maskrcnn_benchmark.weights.load_checks import (
    check_finite,
    compare_settings,
    in_single_precision,
    plain,
    without_anchors,
)
from maskrcnn_benchmark.weights.load_report import LoadReport, explain
from maskrcnn_benchmark.weights.matching import (
    WeightMatch,
    match_state,
    shared_names,
    shortened,
    strip_prefix_if_present,
)
from maskrcnn_benchmark.weights.provenance import provenance_of
from maskrcnn_benchmark.weights.sources.read import RawFile
from maskrcnn_benchmark.weights.unwrap import Unwrapped, unwrap

logger = logging.getLogger("maskrcnn_benchmark.checkpoint")

NOT_EXTRA = ("model", "state_dict", "blobs", "optimizer", "scheduler", "config", "class_names", "format")


class Purpose(Enum):
    """Why weights are loaded, which decides how much of the model a file must cover.

    TRAINING: training starts from them. A body alone (ImageNet weights) is enough, and classes that the file
    does not have keep their initial values.
    USE: the model is tested, measured, resumed or shown images. The file must hold every weight, for the
    model's own classes; anything less is refused, because the rest would stay random.
    """

    TRAINING = "training"
    USE = "use"


@dataclass(frozen=True)
class LoadOptions:
    """How a file may be taken.

    purpose: see Purpose. partial: takes whatever fits, for either purpose. class_names: the model's, the
    background first, where they are known. settings: the model's config as `SECTION.KEY -> value`; without it
    nothing is compared.
    """

    purpose: Purpose
    partial: bool = False
    class_names: tuple[str, ...] | None = None
    settings: Mapping[str, object] | None = None


def load_weights(model: nn.Module, raw: RawFile, options: LoadOptions) -> LoadReport:
    """Copies the weights of `raw` into `model`.

    Returns:
        What was done, to be logged.

    Raises:
        ValueError: they do not fit (the log has every name), or are not finite; the model is as before.
    """
    where = f"weights of {raw.path}"
    report = LoadReport(path=str(raw.path))
    report.extra = {key: value for key, value in raw.content.items() if _is_extra(raw, key)}
    if raw.skipped:
        report.notes.append(f"in the file beside weights and plain values, skipped: {shortened(raw.skipped)}")
    unwrapped = unwrap(raw, model.state_dict().keys())
    report.notes += unwrapped.notes
    if not provenance_of(raw).is_own and not unwrapped.state.keys() <= model.state_dict().keys():
        refuse_foreign_detector(unwrapped.state, where)
    given_state = in_single_precision(unwrapped.state, report.notes, where)
    check_finite(given_state, where)
    given = _under_our_names(raw, replace(unwrapped, state=given_state), options, report, where)
    state = without_anchors(given.state, model, report)
    may_begin_anew = options.purpose is Purpose.TRAINING or options.partial
    state, report.classes = fit_classes(
        state, given.class_names, model, options.class_names, may_begin_anew, report.warnings, where
    )
    model_state = model.state_dict()
    match = match_state(model_state, state, shared_names(model))
    if not _is_enough(match, options):
        logger.info("%s, what does not fit:\n%s", where, match.listing())
        raise ValueError(explain(where, match, state, model_state))
    chosen = {key: state[name] for key, name in match.loaded.items()}
    if given.converted is not None:
        chosen = _folded(chosen, given.converted, model, report)
    with torch.no_grad():
        for key, tensor in chosen.items():
            model_state[key].copy_(tensor)
    report.loaded, report.kept = match.loaded, match.missing
    report.unused = match.unexpected + match.wrong_shape
    return report


def _is_enough(match: WeightMatch, options: LoadOptions) -> bool:
    """Whether what the file covers of the model serves the purpose."""
    if options.partial:
        return bool(match.loaded)
    if match.is_body:
        return options.purpose is Purpose.TRAINING
    return match.is_complete


@dataclass(frozen=True)
class _Given:
    """A file's weights under this project's names, a bare body's without prefix; its class names, () where
    nothing may be assumed of them; and how another project's were converted.
    """

    state: dict[str, Tensor]
    class_names: Sequence[str] | None = None
    converted: Converted | None = None


def _under_our_names(
    raw: RawFile, unwrapped: Unwrapped, options: LoadOptions, report: LoadReport, where: str
) -> _Given:
    """What `raw` gives; its source goes into the report."""
    provenance = provenance_of(raw)
    state = unwrapped.state
    report.dropped = unwrapped.dropped
    if provenance.is_own:
        version = f"format {provenance.version}" if provenance.version else "older than numbered formats"
        report.source = f"this project's {raw.kind}, {version}"
        _check_requirements(provenance.requires, options, report, where)
        compare_settings(options.settings or {}, provenance.settings, report)
        # before files held class names, 81 classes need not have been COCO's
        names = provenance.class_names or (() if provenance.version == 0 else None)
        return _Given(strip_prefix_if_present(state, BODY_PREFIX), names)
    converted = convert(state)
    if converted is None:
        report.source = f"{raw.kind} in the family's names"
        if "conv1.weight" in state and "bn1.weight" in state:
            report.warnings.append(
                "a ResNet in torchvision's names without its classifier: with which pixels and eps it was "
                "trained is not known, its values are taken as they are; give the whole classifier"
            )
        return _Given(strip_prefix_if_present(state, BODY_PREFIX))
    report.source = converted.source
    report.dropped += converted.dropped
    report.notes += converted.notes
    _check_requirements(converted.requires, options, report, where)
    state = strip_prefix_if_present(converted.state, BODY_PREFIX)
    return _Given(state, converted.class_names, converted)


def _is_extra(raw: RawFile, key: str) -> bool:
    is_weights = raw.found_state.place[:1] == (key,)
    return key not in NOT_EXTRA and not is_weights and not isinstance(raw.content[key], Tensor)


def _check_requirements(
    requires: Sequence[tuple[str, object]], options: LoadOptions, report: LoadReport, where: str
) -> None:
    """Refuses weights that compute something else under the model's settings, though names and shapes fit."""
    if options.settings is None:
        report.notes += [f"the weights need {key} {value}" for key, value in requires]
        return
    wrong = [
        f"{key} {value!r} (it is {options.settings[key]!r})"
        for key, value in requires
        if key in options.settings and plain(options.settings[key]) != plain(value)
    ]
    if wrong and not options.partial:
        raise ValueError(
            f"{where}, {report.source}, compute something else in this model; set {', '.join(wrong)}"
        )


def _folded(
    chosen: dict[str, Tensor], converted: Converted, model: nn.Module, report: LoadReport
) -> dict[str, Tensor]:
    """Converted weights, by the model's names, for its own input statistics and the eps of its norms."""
    target = pixel_statistics(model)
    if converted.pixels is not None and target is not None:
        chosen = fold_pixels(chosen, converted.pixels, target)
        report.notes.append(
            "the first convolution takes the config's pixels: order, mean and deviation folded in"
        )
    return adapt_batch_norm_eps(chosen, converted.batch_norm_eps, model)

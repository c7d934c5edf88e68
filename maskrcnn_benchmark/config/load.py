"""From a file and command-line options to one frozen, checked configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_benchmark.config.defaults import _C
from maskrcnn_benchmark.config.node import ConfigNode
from maskrcnn_benchmark.config.validate import validate

SCALED_KEYS = ("SOLVER.BASE_LR", "SOLVER.MAX_ITER", "SOLVER.STEPS")


@dataclass(frozen=True)
class Scaling:
    """How the schedule follows the batch size: the values to set, and the arithmetic in words."""

    values: dict[str, object]
    text: str


def load_config(config_file: str | None = None, opts: Sequence[str] = ()) -> ConfigNode:
    """The frozen configuration of a run: defaults, then the file, then `opts` (KEY VALUE pairs).

    When `opts` changes SOLVER.IMS_PER_BATCH and none of BASE_LR, MAX_ITER, STEPS, the rate and the schedule
    follow by the linear scaling rule (Goyal et al. 2017, section 2.1), unless SOLVER.AUTO_SCALE is False.

    Raises:
        ConfigError: whatever does not fit, with the source, the key and the mend.
    """
    return _finish(*_resolve(config_file, opts))


def load_config_text(text: str, source: str, opts: Sequence[str] = ()) -> ConfigNode:
    """As `load_config`, from the yaml that something other than a config file holds, such as weights."""
    cfg = _C.clone()
    cfg.merge_from_text(text, source)
    return _finish(*_with_options(cfg, opts))


def _finish(cfg: ConfigNode, scaling: Scaling) -> ConfigNode:
    """The schedule scaled, everything checked, frozen."""
    cfg.merge_from_list([item for pair in scaling.values.items() for item in pair])
    validate(cfg)
    cfg.freeze()
    return cfg


def describe_scaling(config_file: str | None, opts: Sequence[str]) -> str:
    """The arithmetic that `load_config` applied to rate and schedule, or why it applied none."""
    return _resolve(config_file, opts)[1].text


def _resolve(config_file: str | None, opts: Sequence[str]) -> tuple[ConfigNode, Scaling]:
    cfg = _C.clone()
    if config_file:
        cfg.merge_from_file(config_file)
    return _with_options(cfg, opts)


def _with_options(cfg: ConfigNode, opts: Sequence[str]) -> tuple[ConfigNode, Scaling]:
    reference = cfg.SOLVER.IMS_PER_BATCH
    cfg.merge_from_list(list(opts))
    return cfg, scale_schedule(cfg, reference, given=set(opts[0::2]))


def scale_schedule(cfg: ConfigNode, reference: int, given: set[str]) -> Scaling:
    """Rate and schedule for SOLVER.IMS_PER_BATCH images where the config was written for `reference`
    images.
    """
    solver, batch = cfg.SOLVER, cfg.SOLVER.IMS_PER_BATCH
    if batch == reference or batch < 1:
        return Scaling({}, f"batch of {batch} images, as the config has it: rate and schedule unchanged")
    if not solver.AUTO_SCALE:
        return Scaling(
            {}, f"batch of {batch} images instead of {reference}; SOLVER.AUTO_SCALE is off: unchanged"
        )
    by_hand = sorted(given.intersection(SCALED_KEYS))
    if by_hand:
        return Scaling(
            {}, f"batch of {batch} images instead of {reference}; {', '.join(by_hand)} given: unchanged"
        )
    factor = reference / batch
    rate = solver.BASE_LR / factor
    steps = tuple(round(step * factor) for step in solver.STEPS)
    max_iter = round(solver.MAX_ITER * factor)
    drops = f", STEPS {tuple(solver.STEPS)} -> {steps}" if solver.LR_SCHEDULE == "multistep" else ""
    text = (
        f"batch of {batch} images instead of {reference}: "
        f"BASE_LR {solver.BASE_LR:g} x {batch}/{reference} = {rate:g}, "
        f"MAX_ITER {solver.MAX_ITER} x {reference}/{batch} = {max_iter}{drops} "
        "(SOLVER.AUTO_SCALE False keeps the config's)"
    )
    return Scaling({"SOLVER.BASE_LR": rate, "SOLVER.MAX_ITER": max_iter, "SOLVER.STEPS": steps}, text)

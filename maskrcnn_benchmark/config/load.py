"""From a file and command-line options to one frozen, checked configuration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_benchmark.config.defaults import _C
from maskrcnn_benchmark.config.node import ConfigNode
from maskrcnn_benchmark.config.validate import validate

logger = logging.getLogger("maskrcnn_benchmark.config")

CODE_KEYS = ("IMPORTS", "PATHS_CATALOG")  # what they name is imported, and so runs
SCALED_KEYS = ("SOLVER.BASE_LR", "SOLVER.MAX_ITER", "SOLVER.STEPS")


@dataclass(frozen=True)
class Scaling:
    """How the schedule follows the batch size: the values to set, and the arithmetic in words."""

    values: dict[str, object]
    text: str


def load_config(
    config_file: str | None = None, opts: Sequence[str] = (), imports: Sequence[str] = ()
) -> ConfigNode:
    """The frozen configuration of a run: defaults, then the file, then `opts` (KEY VALUE pairs).

    When `opts` changes SOLVER.IMS_PER_BATCH and none of BASE_LR, MAX_ITER, STEPS, the learning rate and the
    schedule follow by the linear scaling rule (Goyal et al. 2017, section 2.1), unless SOLVER.AUTO_SCALE is
    False.

    Args:
        config_file: a path, or the name of a config of the package, such as
            vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml.
        imports: modules to append to the key IMPORTS. Loading a config imports nothing;
            `utils.user_module.import_user_modules` does.

    Raises:
        ConfigError: whatever does not fit, with the source, the key and the mend.
    """
    return _finish(*_resolve(config_file, opts), imports)


def load_config_text(
    text: str, source: str, opts: Sequence[str] = (), imports: Sequence[str] = ()
) -> ConfigNode:
    """As `load_config`, from the yaml that a file of weights holds.

    Such a file may come from anywhere, so it cannot make code run: its values of CODE_KEYS are dropped, with
    a warning that says how to allow them. Only `opts` and `imports` set these keys.
    """
    cfg = _C.clone()
    cfg.merge_from_text(text, source)
    wanted = {key: cfg[key] for key in CODE_KEYS}
    for key in CODE_KEYS:
        cfg[key] = _C[key]
    cfg, scaling = _with_options(cfg, opts)
    for key, value in wanted.items():
        names = [value] if isinstance(value, str) else list(value)
        allowed = {*imports, *([cfg[key]] if isinstance(cfg[key], str) else cfg[key])}
        if missing := [name for name in names if name and name not in allowed]:
            give = f"{key} {value}" if key != "IMPORTS" else " ".join(f"--import {name}" for name in missing)
            logger.warning(
                "%s asks for your code, %s %s: left out, a file of weights never makes code run. If you have "
                "and trust that code, name it yourself: %s",
                source,
                key,
                ", ".join(missing),
                give,
            )
    return _finish(cfg, scaling, imports)


def _finish(cfg: ConfigNode, scaling: Scaling, imports: Sequence[str]) -> ConfigNode:
    """The schedule scaled, everything checked, frozen."""
    cfg.merge_from_list([item for pair in scaling.values.items() for item in pair])
    cfg.IMPORTS = tuple(dict.fromkeys([*cfg.IMPORTS, *imports]))
    validate(cfg)
    cfg.freeze()
    return cfg


def describe_scaling(config_file: str | None, opts: Sequence[str]) -> str:
    """The arithmetic that `load_config` applied to learning rate and schedule, or why it applied none."""
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
    """Learning rate and schedule for SOLVER.IMS_PER_BATCH images instead of the config's `reference`."""
    solver, batch = cfg.SOLVER, cfg.SOLVER.IMS_PER_BATCH
    if batch == reference or batch < 1:
        return Scaling({}, f"batch of {batch} images, as the config has it: schedule unchanged")
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
    base_lr = solver.BASE_LR / factor
    steps = tuple(round(step * factor) for step in solver.STEPS)
    max_iter = round(solver.MAX_ITER * factor)
    drops = f", STEPS {tuple(solver.STEPS)} -> {steps}" if solver.LR_SCHEDULE == "multistep" else ""
    text = (
        f"batch of {batch} images instead of {reference}: "
        f"BASE_LR {solver.BASE_LR:g} x {batch}/{reference} = {base_lr:g}, "
        f"MAX_ITER {solver.MAX_ITER} x {reference}/{batch} = {max_iter}{drops} "
        "(SOLVER.AUTO_SCALE False keeps the config's)"
    )
    return Scaling({"SOLVER.BASE_LR": base_lr, "SOLVER.MAX_ITER": max_iter, "SOLVER.STEPS": steps}, text)

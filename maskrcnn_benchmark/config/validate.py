"""Checks over a merged configuration: allowed sets, ranges, and keys that must agree with each other."""

from __future__ import annotations

from maskrcnn_benchmark.config.node import ConfigError, ConfigNode

ALLOWED: dict[str, tuple[object, ...]] = {
    "DTYPE": ("float32", "bfloat16", "float16"),
    "MODEL.VOVNET.PRETRAINED": ("",),
    "SOLVER.LR_SCHEDULE": ("multistep", "poly", "cosine"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
    "DATALOADER.START_METHOD": ("fork", "spawn", "forkserver"),
}
AT_LEAST: dict[str, float] = {
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.ACCUMULATION_STEPS": 1,
    "SOLVER.MAX_ITER": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.LOG_PERIOD": 1,
    "SOLVER.CLIP_GRAD_NORM": 0,
    "SOLVER.BACKBONE_LR_FACTOR": 0,
    "SOLVER.POLY_POWER": 0,
    "MODEL.BOX_REG_LOSS_WEIGHT": 0,
    "MODEL.RPN.BOX_REG_LOSS_WEIGHT": 0,
    "SOLVER.KEEP_CHECKPOINTS": 0,
    "SOLVER.WARMUP_ITERS": 0,
    "TEST.IMS_PER_BATCH": 1,
    "TEST.EVAL_PERIOD": 0,
    "TEST.EARLY_STOPPING_PATIENCE": 0,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.SIZE_DIVISIBILITY": 0,
    "INPUT.MIN_SIZE_TEST": 1,
    "MODEL.ROI_BOX_HEAD.NUM_CLASSES": 2,
    "MODEL.ROI_HEADS.DETECTIONS_PER_IMG": 1,
    "MODEL.BACKBONE.FREEZE_CONV_BODY_AT": 0,
    "MODEL.FPN.OUT_CHANNELS": 0,
    "MODEL.RPN.MID_CHANNELS": 0,
    "SEED": -1,
}
NAMES = (
    "IMPORTS",
    "INPUT.TRANSFORMS_TRAIN",
    "METRIC_WRITERS",
    "MODEL.ROI_HEADS.EXTRA",
    "SOLVER.HOOKS",
)  # each a sequence of names
FRACTIONS = (
    "MODEL.RPN.NMS_THRESH",
    "MODEL.RPN.POSITIVE_FRACTION",
    "MODEL.ROI_HEADS.NMS",
    "MODEL.ROI_HEADS.SCORE_THRESH",
    "MODEL.ROI_HEADS.POSITIVE_FRACTION",
    "SOLVER.END_LR_FACTOR",
    "INPUT.HORIZONTAL_FLIP_PROB_TRAIN",
    "INPUT.VERTICAL_FLIP_PROB_TRAIN",
)


def validate(cfg: ConfigNode) -> None:
    """Checks what can be checked without data, weights or a device.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    values = cfg.flat()
    for key, allowed in ALLOWED.items():
        if values[key] not in allowed:
            raise ConfigError(f"{key} = {values[key]!r} is not one of {', '.join(repr(a) for a in allowed)}")
    for key, low in AT_LEAST.items():
        if values[key] < low:
            raise ConfigError(f"{key} = {values[key]!r} must be at least {low:g}")
    for key in FRACTIONS:
        if not 0 <= values[key] <= 1:
            raise ConfigError(f"{key} = {values[key]!r} must lie between 0 and 1")
    for key in NAMES:
        if not all(isinstance(name, str) and name for name in values[key]):
            raise ConfigError(f"{key} = {values[key]!r} must be names, such as ('one', 'another')")
    _validate_device(cfg.MODEL.DEVICE)
    _validate_schedule(cfg)
    _validate_pyramid(cfg)
    _validate_input(cfg)


def _validate_device(device: str) -> None:
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"MODEL.DEVICE = {device!r} is not one of 'auto', 'cpu', 'cuda', 'cuda:N'")


def _validate_schedule(cfg: ConfigNode) -> None:
    steps = list(cfg.SOLVER.STEPS)
    if steps != sorted(steps):
        raise ConfigError(f"SOLVER.STEPS = {tuple(steps)} must ascend")
    if cfg.SOLVER.IMS_PER_BATCH % cfg.SOLVER.ACCUMULATION_STEPS:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH = {cfg.SOLVER.IMS_PER_BATCH} is not divisible by "
            f"SOLVER.ACCUMULATION_STEPS = {cfg.SOLVER.ACCUMULATION_STEPS}"
        )
    if cfg.TEST.EARLY_STOPPING_PATIENCE and not cfg.TEST.EVAL_PERIOD:
        raise ConfigError(
            f"TEST.EARLY_STOPPING_PATIENCE = {cfg.TEST.EARLY_STOPPING_PATIENCE} counts evaluations during "
            "training: set TEST.EVAL_PERIOD too"
        )


def _validate_pyramid(cfg: ConfigNode) -> None:
    rpn = cfg.MODEL.RPN
    if rpn.USE_FPN != cfg.MODEL.ROI_HEADS.USE_FPN:
        raise ConfigError(
            f"MODEL.RPN.USE_FPN = {rpn.USE_FPN} and "
            f"MODEL.ROI_HEADS.USE_FPN = {cfg.MODEL.ROI_HEADS.USE_FPN} must agree"
        )
    if rpn.USE_FPN and len(rpn.ANCHOR_SIZES) != len(rpn.ANCHOR_STRIDE):
        raise ConfigError(
            f"MODEL.RPN.ANCHOR_SIZES = {tuple(rpn.ANCHOR_SIZES)} needs one entry for each of "
            f"MODEL.RPN.ANCHOR_STRIDE = {tuple(rpn.ANCHOR_STRIDE)}"
        )
    if not rpn.USE_FPN and len(rpn.ANCHOR_STRIDE) != 1:
        raise ConfigError(
            f"MODEL.RPN.ANCHOR_STRIDE = {tuple(rpn.ANCHOR_STRIDE)}: one entry without MODEL.RPN.USE_FPN"
        )


def _validate_input(cfg: ConfigNode) -> None:
    sides = tuple(cfg.INPUT.MIN_SIZE_RANGE_TRAIN)
    if len(sides) != 2 or not (sides == (-1, -1) or 1 <= sides[0] <= sides[1]):
        raise ConfigError(
            f"INPUT.MIN_SIZE_RANGE_TRAIN = {sides} must be (lowest, highest) short side in pixels, "
            "or (-1, -1) to draw from INPUT.MIN_SIZE_TRAIN"
        )
    bits = cfg.INPUT.PIXEL_BITS
    if bits != 0 and not 8 <= bits <= 16:
        raise ConfigError(
            f"INPUT.PIXEL_BITS = {bits} must be 8 to 16, or 0 for what each image says or needs"
        )
    if len(cfg.INPUT.PIXEL_MEAN) != 3 or len(cfg.INPUT.PIXEL_STD) != 3:
        raise ConfigError("INPUT.PIXEL_MEAN and INPUT.PIXEL_STD need three values each: blue, green, red")

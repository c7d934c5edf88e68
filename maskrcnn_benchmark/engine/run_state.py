"""What a checkpoint holds beside model, optimizer and schedule, so that a resumed run is the same run."""

from __future__ import annotations

import logging
from typing import Any

import torch

from maskrcnn_benchmark.engine.checkpointing import RunCheckpointer
from maskrcnn_benchmark.engine.hooks import Hook
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.random_state import random_state, set_random_state

logger = logging.getLogger("maskrcnn_benchmark.trainer")

# A float16 run whose loss scale has fallen this low has had nothing but non-finite gradients for long.
MIN_LOSS_SCALE = 2.0**-10


def save_run(
    checkpointer: RunCheckpointer,
    name: str,
    arguments: dict[str, Any],
    scaler: torch.amp.GradScaler,
    hooks: Hook,
    device: torch.device,
) -> None:
    """Writes a checkpoint from which `restore_run` continues exactly; called by every process."""
    arguments["random_states"] = comm.gather(random_state(device))
    arguments["scaler"] = scaler.state_dict()
    if own := hooks.state_dict():
        arguments["hooks"] = own
    checkpointer.save(name, **arguments)


def restore_run(
    arguments: dict[str, Any], scaler: torch.amp.GradScaler, hooks: Hook, device: torch.device
) -> None:
    """Takes up random states, loss scale and hooks of a checkpoint; `arguments` of a new run have none."""
    states = arguments.get("random_states")
    if states is None:
        return
    if len(states) == comm.get_world_size():
        set_random_state(states[comm.get_rank()], device)
    else:
        logger.warning(
            "The run was on %d processes and is on %d now: from here its random choices are others",
            len(states),
            comm.get_world_size(),
        )
    if arguments.get("scaler") and scaler.is_enabled():
        scaler.load_state_dict(arguments["scaler"])
    hooks.load_state_dict(arguments.get("hooks", {}))


def check_loss_scale(scaler: torch.amp.GradScaler) -> None:
    """Raises RuntimeError where float16 has had no finite gradient for so long that it will find none.

    Waits for the GPU, so it is for the iterations that log.
    """
    if scaler.is_enabled() and scaler.get_scale() < MIN_LOSS_SCALE:
        raise RuntimeError(
            f"float16 training finds no finite gradient: the loss scale fell to {scaler.get_scale():g}; "
            "use DTYPE bfloat16, or lower SOLVER.BASE_LR"
        )

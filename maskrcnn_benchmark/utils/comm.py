"""The processes of a run: who am I, wait for the others, exchange Python objects and losses.

Every function works in a run of one process without torch.distributed being initialised.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def is_distributed() -> bool:
    """Whether a process group is up."""
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """The number of processes of the run."""
    return dist.get_world_size() if is_distributed() else 1


def get_rank() -> int:
    """The number of this process, 0 .. world size - 1."""
    return dist.get_rank() if is_distributed() else 0


def is_main_process() -> bool:
    """Whether this process writes the files and the log of the run."""
    return get_rank() == 0


def synchronize() -> None:
    """Waits until every process has come here."""
    if get_world_size() > 1:
        dist.barrier()


def all_gather(data: T) -> list[T]:
    """`data` of every process, in the order of their ranks; any picklable object, of any size."""
    if get_world_size() == 1:
        return [data]
    gathered: list[T | None] = [None] * get_world_size()
    dist.all_gather_object(gathered, data)
    return gathered  # type: ignore[return-value]  # every slot is filled now


def gather(data: T) -> list[T] | None:
    """`data` of every process in the order of their ranks, on the main process; None on the others."""
    if get_world_size() == 1:
        return [data]
    gathered: list[T | None] | None = [None] * get_world_size() if is_main_process() else None
    dist.gather_object(data, gathered)
    return gathered  # type: ignore[return-value]  # every slot is filled now


def reduce_dict(input_dict: Mapping[str, Tensor], average: bool = True) -> dict[str, Tensor]:
    """The mean (or sum) over the processes of each 0-dim tensor, on every process; keys must agree."""
    if get_world_size() == 1:
        return dict(input_dict)
    names = sorted(input_dict)
    with torch.no_grad():
        values = torch.stack([input_dict[name].detach() for name in names])
        dist.all_reduce(values)
        if average:
            values /= get_world_size()
    return dict(zip(names, values.unbind(), strict=True))


def mean_count(count: Tensor) -> Tensor:
    """The mean of each count, in a tensor of any shape, over the processes; float32.

    At least one is counted in all processes together, so that it can be divided by. A loss that divides a
    sum by it and whose gradient is averaged over the processes is the mean over all of
    their samples, as if one process had taken the whole batch.
    """
    count = count.detach().float()
    world_size = get_world_size()
    if world_size > 1:
        count = count.clone()
        dist.all_reduce(count)
    return count.clamp(min=1) / world_size


def launched_world_size() -> int:
    """The number of processes that torchrun or torch.distributed.launch started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_local_rank(argument: int | None = None) -> int:
    """The number of this process on its machine: LOCAL_RANK, or the old launcher's argument."""
    return int(os.environ.get("LOCAL_RANK", argument or 0))


def init_process_group(device: torch.device, timeout_minutes: float = 60.0) -> None:
    """Joins the processes that the launcher started; does nothing for a single one.

    On GPUs both backends come up: nccl for tensors on the device, gloo for Python objects and tensors in host
    memory. The timeout is long because the other ranks wait while the main one evaluates.
    """
    if launched_world_size() == 1:
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        timeout=timedelta(minutes=timeout_minutes),
        device_id=device if device.type == "cuda" else None,
    )


def distribute(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with its gradients averaged over the processes; itself in a run of one.

    Buffers are not exchanged in training: frozen norms never change, and group norm has none.
    """
    if get_world_size() == 1:
        return model
    wrapper = nn.parallel.DistributedDataParallel
    # the newer name; the older one also kept rank 0 from handing its buffers out at the start
    newer = "forward_sync_buffers" in inspect.signature(wrapper).parameters
    no_exchange: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
    return wrapper(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **no_exchange,
    )


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, or the model itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def destroy_process_group() -> None:
    """Leaves the process group, if there is one."""
    if is_distributed():
        dist.destroy_process_group()

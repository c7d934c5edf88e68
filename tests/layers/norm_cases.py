"""The reference of norms with fixed statistics that several test files share."""

import torch
from torch import Tensor


def fixed_batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float = 0.0
) -> Tensor:
    """PyTorch's batch norm in inference: the operator, as its wrappers in torch 2.11 refuse an eps of 0."""
    return torch.batch_norm(x, weight, bias, mean, var, False, 0.0, eps, torch.backends.cudnn.enabled)

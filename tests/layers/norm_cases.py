"""The reference of the frozen norm that the tests of layers and bodies share."""

import torch
from torch import Tensor


def batch_norm_without_eps(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """PyTorch's batch norm with fixed statistics and eps 0.

    The operator itself: its wrapper in nn.functional refuses eps 0 in torch 2.11, in inference too.
    """
    return torch.batch_norm(x, weight, bias, mean, var, False, 0.0, 0.0, torch.backends.cudnn.enabled)

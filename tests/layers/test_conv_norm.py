"""Fused convolutions against the separate layers; what is prepared for inference follows its sources."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from layers.norm_cases import fixed_batch_norm
from torch import Tensor, nn

from maskrcnn_benchmark.layers.concat_conv import concat_conv2d
from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, GroupNorm, group_norm_factory

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 3e-2}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def frozen_norm(channels: int) -> FrozenBatchNorm2d:
    norm = FrozenBatchNorm2d(channels)
    for name, buffer in norm.named_buffers():
        buffer.uniform_(0.5, 1.5) if name == "running_var" else buffer.normal_()
    return norm


def group_norm(channels: int) -> GroupNorm:
    norm = GroupNorm(4, channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def no_norm(channels: int) -> None:
    return None


NORMS: list[Callable[[int], nn.Module | None]] = [frozen_norm, group_norm, no_norm]


def separate(
    x: Tensor, conv: nn.Conv2d, norm: nn.Module | None, relu: bool, residual: Tensor | None
) -> Tensor:
    """The layers one by one, the frozen norm as PyTorch's batch norm."""
    out = nn.functional.conv2d(
        x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
    )
    if isinstance(norm, FrozenBatchNorm2d):
        out = fixed_batch_norm(out, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    elif isinstance(norm, nn.GroupNorm):
        out = nn.functional.group_norm(out, norm.num_groups, norm.weight, norm.bias, norm.eps)
    if residual is not None:
        out = out + residual
    return out.relu() if relu else out


def close(got: Tensor, want: Tensor, dtype: torch.dtype = torch.float32) -> None:
    scale = want.abs().max().item() + 1e-6
    torch.testing.assert_close(
        got.double(), want.double(), rtol=0.0, atol=TOLERANCE[dtype] * scale, check_dtype=False
    )


def inputs(channels: int = 8, size: int = 9) -> Tensor:
    return torch.randn(2, channels, size, size + 2).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("make_norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "bias"),
    [(1, 1, 1, False), (3, 2, 1, True), (3, 1, 1, True), (3, 1, 4, False)],
)
def test_forward_agrees_with_the_separate_layers(
    make_norm: Callable[[int], nn.Module | None],
    dtype: torch.dtype,
    relu: bool,
    with_residual: bool,
    kernel: int,
    stride: int,
    groups: int,
    bias: bool,
) -> None:
    conv = Conv2d(16, 16, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias).to(dtype)
    norm = make_norm(16)
    norm = norm if norm is None else norm.to(dtype)
    x = inputs(16).to(dtype)
    size = conv(x).shape
    residual = torch.randn(size, dtype=dtype) if with_residual else None
    want = separate(x, conv, norm, relu, residual)

    def given() -> Tensor | None:
        return None if residual is None else residual.clone(memory_format=torch.channels_last)

    close(fused_conv2d(x, conv, norm, relu, given()), want, dtype)
    conv.eval()
    with torch.no_grad():
        for _ in range(2):
            close(fused_conv2d(x, conv, norm, relu, given()), want, dtype)
        if residual is not None:
            close(fused_conv2d(x, conv, norm, relu, residual.contiguous()), want, dtype)
    with torch.inference_mode():
        close(fused_conv2d(x, conv, norm, relu, given()), want, dtype)
    assert conv.prepared is not None


@pytest.mark.parametrize("make_norm", NORMS)
def test_gradients_agree_with_the_separate_layers(make_norm: Callable[[int], nn.Module | None]) -> None:
    conv, norm = Conv2d(8, 16, 3, padding=1), make_norm(16)
    x, residual = inputs().requires_grad_(), inputs(16).requires_grad_()
    wanted = [x, residual, *conv.parameters(), *([] if norm is None else norm.parameters())]
    weights = torch.randn(2, 16, 9, 11)
    # a sum of the residual, so that the in-place addition meets a tensor in a graph
    got = torch.autograd.grad((fused_conv2d(x, conv, norm, True, residual * 2) * weights).sum(), wanted)
    want = torch.autograd.grad((separate(x, conv, norm, True, residual * 2) * weights).sum(), wanted)
    for ours, theirs in zip(got, want, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("make_norm", NORMS)
@pytest.mark.parametrize("bf16", [False, True])
def test_concatenation_kept_or_not_gives_the_same(
    make_norm: Callable[[int], nn.Module | None], bf16: bool
) -> None:
    conv, norm = Conv2d(24, 16, 1, bias=False), make_norm(16)
    parts = [inputs(channels).requires_grad_() for channels in (8, 12, 4)]
    wanted = [*parts, *conv.parameters(), *([] if norm is None else norm.parameters())]

    def run(recompute: bool) -> tuple[Tensor, tuple[Tensor, ...], int]:
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.numel()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = concat_conv2d(parts, conv, norm, relu=True, recompute=recompute)
        grads = torch.autograd.grad((out.float() ** 2).sum(), wanted)
        return out, grads, max(kept.values())

    rebuilt, rebuilt_grads, largest_rebuilt = run(recompute=True)
    stored, stored_grads, largest_stored = run(recompute=False)
    assert torch.equal(rebuilt, stored)
    for ours, theirs in zip(rebuilt_grads, stored_grads, strict=True):
        close(ours, theirs, torch.bfloat16 if bf16 else torch.float32)
    concatenated = 24 * 2 * 9 * 11
    assert largest_stored == concatenated and largest_rebuilt < concatenated
    if not bf16:
        close(rebuilt, separate(torch.cat(parts, 1), conv, norm, True, None))


def test_empty_batch() -> None:
    conv, norm = Conv2d(8, 16, 3, padding=1).eval(), frozen_norm(16)
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled):
            assert fused_conv2d(inputs()[:0], conv, norm, relu=True).shape == (0, 16, 9, 11)


def change_by_optimizer(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight.grad = torch.ones_like(conv.weight)
    torch.optim.SGD(conv.parameters(), lr=0.1).step()


def change_by_load_state_dict(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.load_state_dict({name: tensor + 1 for name, tensor in conv.state_dict().items()})


def change_norm_in_place(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    norm.running_var.mul_(2)


def change_by_assignment(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.load_state_dict({name: tensor + 1 for name, tensor in conv.state_dict().items()}, assign=True)


def change_type(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.bfloat16().float()  # rounds


def change_data_then_eval(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight.data.mul_(3)
    conv.eval()


def change_data(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight.data.mul_(2)


def change_sign_through_data(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight.data.neg_()


def change_one_value_through_a_view(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight.detach().flatten().data[7] += 100


def change_order_of_values(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight.data.copy_(conv.weight.data.flip(0))  # the same sum


def change_by_vector(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    vector = nn.utils.parameters_to_vector(conv.parameters())
    nn.utils.vector_to_parameters(vector * 2, conv.parameters())


def change_by_numpy(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight.detach().numpy()[...] *= 2


def change_by_another_library(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    np.from_dlpack(conv.weight.detach())[0] += 1  # type: ignore[index]


def change_bias_data(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    assert conv.bias is not None
    conv.bias.data.add_(1)


def change_norm_data(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    norm.running_mean.data.add_(1)


def change_by_foreach_optimizer(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight.grad, conv.bias.grad = torch.ones_like(conv.weight), torch.ones_like(conv.bias)  # type: ignore
    torch.optim.AdamW(conv.parameters(), lr=0.1, foreach=True).step()


def change_by_copy(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    with torch.no_grad():
        conv.weight.copy_(conv.weight * 2)


def change_by_new_parameter(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    conv.weight = nn.Parameter(conv.weight.detach() * 2)


def change_under_inference_mode(conv: Conv2d, norm: FrozenBatchNorm2d) -> None:
    with torch.inference_mode():
        conv.weight.mul_(2)


@pytest.mark.parametrize(
    "change",
    [
        change_by_optimizer,
        change_by_load_state_dict,
        change_norm_in_place,
        change_by_assignment,
        change_type,
        change_data_then_eval,
        change_data,
        change_sign_through_data,
        change_one_value_through_a_view,
        change_order_of_values,
        change_by_vector,
        change_by_numpy,
        change_by_another_library,
        change_bias_data,
        change_norm_data,
        change_by_foreach_optimizer,
        change_by_copy,
        change_by_new_parameter,
        change_under_inference_mode,
    ],
)
def test_a_change_renews_what_was_prepared(change: Callable[[Conv2d, FrozenBatchNorm2d], None]) -> None:
    conv, norm, x = Conv2d(8, 16, 3, padding=1).eval(), frozen_norm(16), inputs()
    with torch.no_grad():
        before = fused_conv2d(x, conv, norm)
    change(conv, norm)
    with torch.no_grad():
        after = fused_conv2d(x, conv, norm)
        close(after, separate(x, conv, norm, False, None))
    assert not torch.equal(before, after)


def test_what_did_not_change_is_not_prepared_again() -> None:
    """Neither NaN nor a parameter of the same values in another place asks for it."""
    conv, norm, x = Conv2d(8, 16, 3, padding=1).eval(), frozen_norm(16), inputs()
    conv.weight.data[0, 0, 0, 0] = torch.nan
    with torch.no_grad():
        fused_conv2d(x, conv, norm)
        first = conv.prepared
        fused_conv2d(x, conv, norm)
        conv.weight = nn.Parameter(conv.weight.detach().clone())
        fused_conv2d(x, conv, norm)
    assert first is not None and conv.prepared is first


def test_swapped_data_is_seen_though_memory_is_reused() -> None:
    conv, x = Conv2d(8, 16, 3, padding=1).eval(), inputs()
    for _ in range(8):
        conv.weight.data = torch.randn_like(conv.weight)
        with torch.no_grad():
            close(fused_conv2d(x, conv), separate(x, conv, None, False, None))


def test_another_norm_type_or_backend_renews_what_was_prepared() -> None:
    conv, first, second, x = Conv2d(8, 16, 3, padding=1).eval(), frozen_norm(16), frozen_norm(16), inputs()
    with torch.no_grad():
        for norm in (first, second, None, first):
            close(fused_conv2d(x, conv, norm), separate(x, conv, norm, False, None))
        want = separate(x, conv, first, True, None)
        with torch.autocast("cpu", torch.bfloat16):
            low = fused_conv2d(x, conv, first, relu=True)
        assert low.dtype == torch.bfloat16
        close(low, want, torch.bfloat16)
        with torch.backends.mkldnn.flags(enabled=False):
            close(fused_conv2d(x, conv, first, relu=True), want)
            assert conv.prepared is not None and not conv.prepared.weight.is_mkldnn
        close(fused_conv2d(x, conv, first, relu=True), want)


def test_sizes_may_change_after_preparing() -> None:
    conv, norm = Conv2d(8, 16, 3, padding=1, stride=2).eval(), frozen_norm(16)
    with torch.no_grad():
        for size in (5, 40, 9):
            x = inputs(size=size)
            close(fused_conv2d(x, conv, norm), separate(x, conv, norm, False, None))
            close(fused_conv2d(x.contiguous(), conv, norm), separate(x, conv, norm, False, None))


def test_what_was_prepared_stays_out_of_copies_and_of_training() -> None:
    conv = Conv2d(8, 16, 3, padding=1).eval()
    with torch.no_grad():
        fused_conv2d(inputs(), conv)
    assert conv.prepared is not None and set(conv.state_dict()) == {"weight", "bias"}
    assert copy.deepcopy(conv).prepared is None
    assert pickle.loads(pickle.dumps(conv)).prepared is None
    conv.train()
    assert conv.prepared is None
    with torch.no_grad():
        fused_conv2d(inputs(), conv)
    assert conv.prepared is None


def test_frozen_norm_has_no_eps_and_nothing_to_train() -> None:
    norm = frozen_norm(16)
    x = inputs(16)
    want = fixed_batch_norm(x, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    close(norm(x), want)
    assert list(norm.parameters()) == []
    assert list(norm.state_dict()) == ["weight", "bias", "running_mean", "running_var"]


def test_group_norm_keeps_its_input_type_under_autocast() -> None:
    norm, x = group_norm(16), inputs(16)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x).dtype == torch.float32
        low = norm(x.bfloat16())
    assert low.dtype == torch.bfloat16
    close(low, nn.functional.group_norm(x, 4, norm.weight, norm.bias), torch.bfloat16)


def test_group_norm_factory_names_the_keys() -> None:
    by_groups, by_channels = group_norm_factory(4, 1e-5)(16), group_norm_factory(-1, 1e-3, 8)(16)
    assert isinstance(by_groups, nn.GroupNorm) and by_groups.num_groups == 4
    assert isinstance(by_channels, nn.GroupNorm) and (by_channels.num_groups, by_channels.eps) == (2, 1e-3)
    for groups, channels in ((32, 8), (-1, -1)):
        with pytest.raises(ValueError, match=r"MODEL\.GROUP_NORM\.NUM_GROUPS"):
            group_norm_factory(groups, 1e-5, channels)
    with pytest.raises(ValueError, match="16 channels"):
        group_norm_factory(32, 1e-5)(16)

"""Bodies and pyramid against torchvision's ResNet, and VoVNet and FPN written out layer by layer."""

from __future__ import annotations

import pytest
import torch
import torchvision
from layers.norm_cases import fixed_batch_norm
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, group_norm_factory
from maskrcnn_benchmark.modeling.backbone.fpn import FPN, LastLevelMaxPool
from maskrcnn_benchmark.modeling.backbone.resnet import ResNet, ResNetSpec
from maskrcnn_benchmark.modeling.backbone.vovnet import VoVNet, VoVNetSpec

SMALL = VoVNetSpec((16, 16, 24, 24), (32, 48, 64, 64), modules=(1, 1, 2, 3), layers_per_module=3)
GROUPS = 4


def small_vovnet(use_gn: bool = False, recompute_concat: bool = True, seed: int = 5) -> VoVNet:
    torch.manual_seed(seed)
    norm = group_norm_factory(GROUPS, 1e-5) if use_gn else FrozenBatchNorm2d
    body = VoVNet(SMALL, norm, recompute_concat=recompute_concat)
    randomize_norms(body)
    return body


def randomize_norms(module: nn.Module) -> None:
    """Statistics and affine maps that a trained network could have."""
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight")):
            tensor.uniform_(0.7, 1.3)
        elif tensor.dim() == 1:
            tensor.normal_(std=0.1)


def close(got: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    scale = want.abs().max().item() + 1e-12
    torch.testing.assert_close(
        got.double(), want.double(), rtol=0.0, atol=tolerance * scale, check_dtype=False
    )


def reference_layer(weights: dict[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    """Convolution, norm and ReLU, each on its own."""
    weight = weights[f"{name}/conv.weight"]
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    scale, shift = weights[f"{name}/norm.weight"], weights[f"{name}/norm.bias"]
    if f"{name}/norm.running_var" in weights:
        mean, var = weights[f"{name}/norm.running_mean"], weights[f"{name}/norm.running_var"]
        return fixed_batch_norm(x, scale, shift, mean, var).relu()
    return F.group_norm(x, GROUPS, scale, shift, 1e-5).relu()


def reference_vovnet(weights: dict[str, Tensor], x: Tensor, modules: tuple[int, ...]) -> list[Tensor]:
    """The paper's figure in a plain loop over the published names."""
    for index, stride in ((1, 2), (2, 1), (3, 2)):
        x = reference_layer(weights, f"stem.stem_{index}", x, stride)
    outputs = []
    for stage, num_modules in enumerate(modules, start=2):
        if stage > 2:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for number in range(1, num_modules + 1):
            name = f"stage{stage}.OSA{stage}_{number}"
            links, layer = [x], 0
            while f"{name}.layers.{layer}.OSA{stage}_{number}_{layer}/conv.weight" in weights:
                links.append(
                    reference_layer(weights, f"{name}.layers.{layer}.OSA{stage}_{number}_{layer}", links[-1])
                )
                layer += 1
            joined = reference_layer(
                weights, f"{name}.concat.OSA{stage}_{number}_concat", torch.cat(links, 1)
            )
            x = joined if number == 1 else joined + x
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("use_gn", [False, True])
@pytest.mark.parametrize("size", [(64, 96), (75, 53), (33, 130)])
def test_vovnet_is_the_papers_figure(use_gn: bool, size: tuple[int, int]) -> None:
    body = small_vovnet(use_gn)
    images = torch.randn(2, 3, *size)
    want = reference_vovnet(body.state_dict(), images, SMALL.modules)
    for training in (True, False):
        body.train(training)
        with torch.no_grad():
            for _ in range(2):
                for ours, theirs in zip(body(images), want, strict=True):
                    close(ours, theirs)
    assert tuple(feature.shape[1] for feature in want) == body.out_channels


@pytest.mark.parametrize("use_gn", [False, True])
def test_vovnet_gradients(use_gn: bool) -> None:
    """All gradients: ours with the concatenation kept and not, and the reference's."""
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    gradients = []
    for recompute in (True, False):
        body = small_vovnet(use_gn, recompute)
        loss = sum(feature.square().mean() for feature in body(images))
        assert isinstance(loss, Tensor)
        gradients.append(dict(zip(dict(body.named_parameters()), _grads(loss, body), strict=True)))
    for name, gradient in gradients[0].items():
        close(gradient, gradients[1][name])

    weights = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    leaves = {name: weights[name].requires_grad_() for name in gradients[0]}
    loss = sum(feature.square().mean() for feature in reference_vovnet(weights, images, SMALL.modules))
    assert isinstance(loss, Tensor)
    loss.backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        close(gradients[0][name], leaf.grad, 1e-4)


def _grads(loss: Tensor, module: nn.Module) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, list(module.parameters()))


@pytest.mark.parametrize("size", [(64, 96), (75, 53)])
def test_resnet50_is_torchvisions(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None).eval()
    randomize_norms(theirs)
    spec = ResNetSpec((3, 4, 6, 3), stride_in_1x1=False)
    body = ResNet(spec, FrozenBatchNorm2d, FrozenBatchNorm2d)
    weights = {}
    for name, tensor in theirs.state_dict().items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        # a frozen norm has no eps, torchvision's batch norm has 1e-5
        tensor = tensor + 1e-5 if name.endswith("running_var") else tensor
        weights[name if name.startswith("layer") else f"stem.{name}"] = tensor
    assert set(weights) == set(body.state_dict())
    body.load_state_dict(weights)

    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        want = []
        for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            x = stage(x)
            want.append(x)
        for training in (True, False, False):
            for ours, reference in zip(body.train(training)(images), want, strict=True):
                close(ours, reference)
    assert body.out_channels == (256, 512, 1024, 2048)


def test_resnet_stride_sits_where_asked() -> None:
    for in_1x1 in (True, False):
        spec = ResNetSpec((1, 1, 1, 1), stride_in_1x1=in_1x1)
        body = ResNet(spec, FrozenBatchNorm2d, FrozenBatchNorm2d)
        block = body.get_submodule("layer2.0")
        strides = [block.get_submodule(name).stride for name in ("conv1", "conv2", "conv3", "downsample.0")]
        first, second = ((2, 2), (1, 1)) if in_1x1 else ((1, 1), (2, 2))
        assert strides == [first, second, (1, 1), (2, 2)]


def test_resnext_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    spec = ResNetSpec((1, 2, 1, 1), num_groups=4, width_per_group=8, stride_in_1x1=False)
    body = ResNet(spec, FrozenBatchNorm2d, FrozenBatchNorm2d)
    randomize_norms(body)
    assert body.get_submodule("layer1.0.conv2").groups == 4
    loss = sum(feature.mean() for feature in body(torch.randn(1, 3, 64, 64)))
    assert isinstance(loss, Tensor)
    assert all(gradient.abs().sum() > 0 for gradient in _grads(loss, body))


def body_maps(sizes: list[tuple[int, int]]) -> list[Tensor]:
    return [torch.randn(2, 8 * (i + 1), *size) for i, size in enumerate(sizes)]


@pytest.mark.parametrize("use_gn", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sizes", [[(16, 24), (8, 12), (4, 6), (2, 3)], [(17, 23), (9, 12), (5, 6), (3, 3)]])
def test_fpn_written_out(use_gn: bool, relu: bool, sizes: list[tuple[int, int]]) -> None:
    torch.manual_seed(0)
    norm = group_norm_factory(GROUPS, 1e-5) if use_gn else None
    fpn = FPN([8, 16, 24, 32], 16, norm, relu, LastLevelMaxPool())
    randomize_norms(fpn)
    maps = body_maps(sizes)

    def block(name: str, x: Tensor) -> Tensor:
        weights = fpn.state_dict()
        prefix = name if f"{name}.weight" in weights else f"{name}.0"
        kernel = weights[f"{prefix}.weight"]
        x = F.conv2d(x, kernel, weights.get(f"{prefix}.bias"), padding=kernel.shape[-1] // 2)
        if use_gn:
            x = F.group_norm(x, GROUPS, weights[f"{name}.1.weight"], weights[f"{name}.1.bias"], 1e-5)
        return x.relu() if relu else x

    want: list[Tensor] = []
    top: Tensor | None = None
    for level in (4, 3, 2, 1):
        lateral = block(f"fpn_inner{level}", maps[level - 1])
        if top is not None:
            rows = torch.arange(lateral.shape[2]) * top.shape[2] // lateral.shape[2]
            columns = torch.arange(lateral.shape[3]) * top.shape[3] // lateral.shape[3]
            lateral = lateral + top[:, :, rows][:, :, :, columns]
        top = lateral
        want.insert(0, block(f"fpn_layer{level}", top))
    want.append(F.max_pool2d(want[-1], kernel_size=1, stride=2))

    for mode in (True, False):
        fpn.train(mode)
        for ours, theirs in zip(fpn(maps), want, strict=True):
            close(ours, theirs)
        with torch.no_grad():
            for ours, theirs in zip(fpn(maps), want, strict=True):
                close(ours, theirs)


def test_inference_leaves_its_input_and_its_outputs_alone() -> None:
    """Sums are written over dead maps only: a second run, and the maps of the first one, are unchanged."""
    torch.manual_seed(0)
    body = ResNet(ResNetSpec((2, 2, 2, 2)), FrozenBatchNorm2d, FrozenBatchNorm2d).eval()
    images = torch.randn(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    kept = images.clone()
    fpn = FPN(body.out_channels, 16, top_block=LastLevelMaxPool()).eval()
    with torch.inference_mode():
        maps = body(images)
        copies = [feature.clone() for feature in maps]
        first = fpn(maps)
        second = fpn(body(images))
    assert torch.equal(images, kept)
    assert all(torch.equal(feature, copy) for feature, copy in zip(maps, copies, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))

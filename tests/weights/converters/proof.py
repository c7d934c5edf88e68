"""What the proofs of the converters share: a source's own model, and this project's body with its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import cfg as default_config
from maskrcnn_benchmark.modeling.backbone.body import Body
from maskrcnn_benchmark.modeling.registry import BODIES
from maskrcnn_benchmark.weights.converters.converted import Converted
from maskrcnn_benchmark.weights.fold import PixelStatistics, adapt_batch_norm_eps, fold_pixels

PREFIX = "backbone.body."
FAMILY_PIXELS = PixelStatistics("bgr", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))
TOLERANCE = 1e-4  # of the scale of a map


def build_body(name: str, options: Sequence[Any] = ()) -> Body:
    """This project's body of that name, without values; options: config keys and values in turn."""
    config = default_config.clone()
    config.merge_from_list(list(options))
    with torch.device("meta"):
        body: Body = BODIES[name](config, name)
    return body.eval()


@torch.no_grad()
def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Values for a model built on the meta device: weights and batch-norm statistics at random.

    Some variances are near the norms' eps, so that a wrong one shows; there the weight is small as well, and
    the maps keep their scale. What is neither a convolution nor a batch norm stays without values.
    """
    torch.manual_seed(seed)
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                module.bias.normal_(std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.weight.uniform_(0.5, 1.0)
            module.bias.normal_(std=0.2)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
            few = torch.rand(module.num_features) < 0.2
            module.running_var[few] = 3 * module.eps
            module.weight[few] *= module.eps**0.5
    return model.eval()


def pixels_of_image(seed: int = 1) -> Tensor:
    """An image [1,3,64,64] of blue, green, red in 0..255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, 64, 64), generator=generator).float()


def normalize(pixels: Tensor, statistics: PixelStatistics) -> Tensor:
    """Blue, green, red in 0..255 -> what a network of these statistics takes."""
    if statistics.order == "rgb":
        pixels = pixels.flip(1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (statistics.mean, statistics.std))
    return (pixels - mean) / std


def pad_with_colour(model: nn.Module, source: PixelStatistics, target: PixelStatistics) -> None:
    """Makes the first convolution pad with the colour that zero stands for in `target`, not in `source`.

    This is the one difference that folding cannot take up: the border's colour.
    """
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    colour = normalize(torch.tensor(_blue_green_red(target)).view(1, 3, 1, 1), source)
    size = int(first.padding[0])
    first.padding = (0, 0)

    def pad(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return F.pad(inputs[0] - colour, (size,) * 4) + colour

    first.register_forward_pre_hook(pad)


def _blue_green_red(statistics: PixelStatistics) -> tuple[float, ...]:
    return statistics.mean if statistics.order == "bgr" else statistics.mean[::-1]


@torch.no_grad()
def features_of(model: nn.Module, images: Tensor, names: Sequence[str]) -> list[Tensor]:
    """The outputs of the submodules `names` for these images."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: found.__setitem__(name, output.clone())

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    model(images)
    for handle in handles:
        handle.remove()
    return [found[name] for name in names]


def load(body: Body, converted: Converted, target: PixelStatistics = FAMILY_PIXELS) -> None:
    """Folds and loads; raises unless the names and shapes are the body's, all of them and no others."""
    body.to_empty(device="cpu")
    state = converted.state
    if converted.pixels is not None:
        state = fold_pixels(state, converted.pixels, target)
    whole = nn.Module()
    whole.backbone = nn.Module()
    whole.backbone.body = body
    state = adapt_batch_norm_eps(state, converted.batch_norm_eps, whole)
    counters = {
        name: tensor for name, tensor in whole.state_dict().items() if name.endswith("num_batches_tracked")
    }
    whole.load_state_dict(state | counters)


def assert_same_maps(got: Sequence[Tensor], want: Sequence[Tensor]) -> None:
    """Every map within 1e-4 of its scale; a map of zeros would say nothing."""
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        scale = theirs.abs().max().item()
        assert theirs.std() > 1e-3 * scale > 0
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=TOLERANCE * scale)


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes, without the batch norms' counters."""
    return {
        name: tuple(tensor.shape)
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }

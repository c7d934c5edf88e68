"""RoIPool (Girshick 2015, Fast R-CNN, section 2.1): the maximum of each bin, by torchvision's operator."""

import torchvision
from torch import Tensor, nn


def roi_pool(input: Tensor, rois: Tensor, output_size: int | tuple[int, int], spatial_scale: float) -> Tensor:
    """[K, C, height, width] from a map [N, C, H, W] and rois [K, 5] (image index, x1, y1, x2, y2)."""
    return torchvision.ops.roi_pool(input, rois.to(input.dtype), output_size, spatial_scale)


class ROIPool(nn.Module):
    """RoIPool from one feature map."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """[K, C, height, width] from a map [N, C, H, W] and rois [K, 5] (image index, x1, y1, x2, y2)."""
        return roi_pool(input, rois, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"

"""What a head on regions is: the protocol of `CombinedROIHeads`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from maskrcnn_benchmark.modeling.losses import LossSums
from maskrcnn_benchmark.modeling.roi_heads.regions import Regions
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections, SampledRois
from maskrcnn_benchmark.structures.targets import Targets


class ROIHead(nn.Module):
    """A head on regions: losses in training, refinement of detections at test.

    To add one, from the package or from a file of your own: derive a class from this, register a builder with
    `@ROI_HEADS.register("name")`, and list the name in MODEL.ROI_HEADS.EXTRA. The builder is called as
    builder(cfg, in_channels, heads) with the channels of the feature maps and the heads built before it, by
    name; it returns None where the config has the head off. The weights are called `roi_heads.name. ...`.

    Attributes:
        detector_kind: what a detector with this head is called in tables ("Mask R-CNN"); None leaves the name
            that earlier heads give.
        iou_type: the evaluation that scores what this head predicts: bbox, segm, ...; None for none.
        target_fields: fields of the ground truth, beside boxes, labels and masks, that `losses` finds in
            `targets.fields`.
    """

    detector_kind: str | None = None
    iou_type: str | None = None
    target_fields: tuple[str, ...] = ()

    def losses(
        self, regions: Regions, sampled: SampledRois, targets: Targets
    ) -> tuple[LossSums, SampledRois]:
        """The head's losses over the sampled regions, and the regions that the next head gets.

        Called in every process in every step, also where nothing is positive: the names are always the same,
        and every weight takes part in the graph. The second result is `sampled`, with fields added where
        later heads want them, or other regions from a head that moves boxes.

        `regions`: the same slots as `sampled`, to compute in; `regions.leading` has the positives alone.
        """
        raise NotImplementedError

    def refine(self, regions: Regions, detections: Detections, image_hw: Tensor) -> Detections:
        """The detections with boxes, scores and labels replaced, or with fields added.

        The first head gets the proposals: score objectness, label 0. `regions`: the same slots as
        `detections`, to compute in. `image_hw` [N, 2]: heights and widths of the images.
        """
        raise NotImplementedError

    def boxlist_fields(self, boxlist: BoxList, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """What a caller finds in the BoxList of one image: this head's fields, by name, one entry a box.

        `boxlist`: the n detections with scores and labels; `fields`: of these detections, [n, ...].
        """
        return {}

"""From class logits and box deltas to final detections."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers import batched_nms
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.roi_heads.regions import counting_is_free
from maskrcnn_benchmark.structures.box_geometry import clip_boxes, gather_rows
from maskrcnn_benchmark.structures.detections import Detections, Proposals

# Where counting would make the host wait, this many candidates (a region as one class) an image are
# considered. A trained model has some hundreds above the score threshold; beyond the cap only the
# lowest-scored are lost.
MAX_CANDIDATES = 4096


class BoxPostProcessor:
    """Score threshold, NMS class by class, best `detections_per_img`; all images at once."""

    def __init__(
        self,
        score_thresh: float,
        nms_thresh: float,
        detections_per_img: int,
        box_coder: BoxCoder,
        class_agnostic: bool = False,
    ) -> None:
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.box_coder = box_coder
        self.class_agnostic = class_agnostic

    def __call__(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: Proposals | Detections,
        image_hw: Tensor,
    ) -> Detections:
        """Detections from class logits [N, P, C] and deltas [N, P, 4 * C] (or [N, P, 8]) of the proposals.

        `image_hw` [N, 2]: heights and widths to which boxes are clipped.
        """
        num_classes = class_logits.shape[-1]
        scores = F.softmax(class_logits.float(), dim=-1)[..., 1:]  # [N, P, C-1]
        scores = scores.masked_fill(~proposals.valid.unsqueeze(-1), -1.0).flatten(1)
        scores, index = scores.topk(self._num_candidates(scores), dim=1)  # [N, K]
        proposal = index // (num_classes - 1)
        labels = index % (num_classes - 1) + 1
        deltas = box_regression.float().unflatten(-1, (-1, 4))  # [N, P, C or 2, 4]
        column = torch.ones_like(labels) if self.class_agnostic else labels
        deltas = gather_rows(deltas.flatten(1, 2), proposal * deltas.shape[2] + column)
        boxes = self.box_coder.decode(deltas, gather_rows(proposals.boxes, proposal))
        boxes = clip_boxes(boxes, image_hw)
        keep, valid = batched_nms(
            boxes, scores, labels, scores > self.score_thresh, self.nms_thresh, self.detections_per_img
        )
        return Detections(
            boxes=gather_rows(boxes, keep).masked_fill(~valid.unsqueeze(-1), 0.0),
            scores=scores.gather(1, keep).masked_fill(~valid, 0.0),
            labels=labels.gather(1, keep).masked_fill(~valid, 0),
            valid=valid,
            fields={},
        )

    def _num_candidates(self, scores: Tensor) -> int:
        """Candidates to consider: exactly those above the threshold where counting is free, else a cap."""
        if not counting_is_free(scores):
            return min(scores.shape[1], MAX_CANDIDATES)
        most = (scores > self.score_thresh).sum(dim=1).amax()
        return max(int(most), min(1, scores.shape[1]))

#pragma once

// Overlap of two boxes, and what a match follows from: shared by the CPU and the CUDA kernels, so that both
// have the same numbers to the last bit, and those of layers/match_boxes.py. Sides count pixels: x2 - x1 + 1.
// No product may be fused with an addition: roi_geometry.h's product().

#include <cstdint>

#include "roi_geometry.h"

namespace maskrcnn_benchmark {

constexpr int64_t kBelowLow = -1;  // a match: background
constexpr int64_t kBetween = -2;   // a match: neither this nor that
// Stands for the largest overlap where there is none, not even one of 0. Smaller than every overlap, also
// when the bits of both are compared as int32.
constexpr float kNoOverlap = -1.0f;

struct MeasuredBox {
  float x1, y1, x2, y2, area;
};

MASKRCNN_HOST_DEVICE MeasuredBox measure_box(const float* box) {
  return {box[0], box[1], box[2], box[3], product(box[2] - box[0] + 1.0f, box[3] - box[1] + 1.0f)};
}

// Pixels along an axis that belong to [a1, a2] and to [b1, b2].
MASKRCNN_HOST_DEVICE float common_side(float a1, float a2, float b1, float b2) {
  const float start = a1 > b1 ? a1 : b1, end = a2 < b2 ? a2 : b2;
  const float side = end - start + 1.0f;
  return side > 0.0f ? side : 0.0f;
}

// Intersection over union: from 0 (of either sign) to 1, or NaN. It is NaN where a box has a NaN, whatever
// the comparisons above make of it, since the area is one; and where it is 0 / 0 or inf / inf.
MASKRCNN_HOST_DEVICE float overlap_of(const MeasuredBox& a, const MeasuredBox& b) {
  const float inter = product(common_side(a.x1, a.x2, b.x1, b.x2), common_side(a.y1, a.y2, b.y1, b.y2));
  return inter / (a.area + b.area - inter);
}

// The match of a box from its largest overlap, the ground truth that has it, and whether the box is the best
// one of some ground truth.
struct MatchRule {
  float high, low;

  MASKRCNN_HOST_DEVICE int64_t match(float largest, int64_t best_gt, bool is_best) const {
    return is_best ? best_gt : largest < low ? kBelowLow : largest < high ? kBetween : best_gt;
  }
};

}  // namespace maskrcnn_benchmark

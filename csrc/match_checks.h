#pragma once

#include <torch/csrc/stable/ops.h>

#include <climits>

#include "box_matching.h"
#include "checks.h"

namespace maskrcnn_benchmark {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check_match_arguments(const Tensor& boxes, const Tensor& gt_boxes, const Tensor& gt_valid,
                                  double high_threshold, double low_threshold) {
  const char* op = "match_boxes";
  STD_TORCH_CHECK(gt_boxes.dim() == 3 && gt_boxes.size(2) == 4, op,
                  ": gt_boxes must have the shape [N, G, 4], got ", shape_of(gt_boxes));
  STD_TORCH_CHECK((boxes.dim() == 2 || (boxes.dim() == 3 && boxes.size(0) == gt_boxes.size(0))) &&
                      boxes.size(boxes.dim() - 1) == 4,
                  op, ": boxes must have the shape [A, 4], or [N, A, 4] with the N of gt_boxes, got boxes ",
                  shape_of(boxes), " and gt_boxes ", shape_of(gt_boxes));
  STD_TORCH_CHECK(
      gt_valid.dim() == 2 && gt_valid.size(0) == gt_boxes.size(0) && gt_valid.size(1) == gt_boxes.size(1), op,
      ": gt_valid must have the shape [N, G] of gt_boxes, got gt_valid ", shape_of(gt_valid),
      " and gt_boxes ", shape_of(gt_boxes));
  const auto check_type = [&](const char* name, const Tensor& tensor, ScalarType type, const char* wanted) {
    STD_TORCH_CHECK(tensor.scalar_type() == type, op, ": ", name, " must be ", wanted, ", got ",
                    dtype_of(tensor));
  };
  check_type("boxes", boxes, ScalarType::Float, "float32");
  check_type("gt_boxes", gt_boxes, ScalarType::Float, "float32");
  check_type("gt_valid", gt_valid, ScalarType::Bool, "bool");
  check_same_device(op, "boxes", boxes, "gt_boxes", gt_boxes);
  check_same_device(op, "boxes", boxes, "gt_valid", gt_valid);
  STD_TORCH_CHECK(gt_boxes.size(1) <= INT_MAX, op, ": at most ", INT_MAX,
                  " ground-truth slots an image, got ", gt_boxes.size(1));
  // Refuses NaN as well.
  STD_TORCH_CHECK(low_threshold <= high_threshold, op,
                  ": low_threshold must not be above high_threshold, got low ", low_threshold, " and high ",
                  high_threshold);
}

// Rounded to float32, as torch rounds a number that a float32 tensor is compared with.
inline MatchRule match_rule(double high_threshold, double low_threshold) {
  return {float(high_threshold), float(low_threshold)};
}

}  // namespace maskrcnn_benchmark

#pragma once

#include <torch/csrc/stable/ops.h>

#include "checks.h"

namespace maskrcnn_benchmark {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check_floating(const char* op, const char* name, const Tensor& tensor) {
  const ScalarType type = tensor.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::Half ||
                      type == ScalarType::BFloat16,
                  op, ": ", name, " must be float32, float64, float16 or bfloat16, got ", dtype_of(tensor));
}

// threshold >= 0 also refuses NaN.
inline void check_threshold(const char* op, double threshold) {
  STD_TORCH_CHECK(threshold >= 0, op, ": threshold must be 0 or more, got ", threshold);
}

inline void check_nms_arguments(const Tensor& boxes, const Tensor& scores, double threshold) {
  STD_TORCH_CHECK(boxes.dim() == 2 && boxes.size(1) == 4, "nms: boxes must have the shape [K, 4], got ",
                  shape_of(boxes));
  STD_TORCH_CHECK(scores.dim() == 1 && scores.size(0) == boxes.size(0),
                  "nms: scores must have the shape [K] with the K of boxes, got scores ", shape_of(scores),
                  " and boxes ", shape_of(boxes));
  check_floating("nms", "boxes", boxes);
  check_floating("nms", "scores", scores);
  check_same_device("nms", "boxes", boxes, "scores", scores);
  check_threshold("nms", threshold);
}

inline void check_batched_nms_arguments(const Tensor& boxes, const Tensor& scores, const Tensor& groups,
                                        const Tensor& valid, double threshold, int64_t max_output) {
  const char* op = "batched_nms";
  STD_TORCH_CHECK(boxes.dim() == 3 && boxes.size(2) == 4, op, ": boxes must have the shape [B, K, 4], got ",
                  shape_of(boxes));
  const auto check_rows = [&](const char* name, const Tensor& tensor) {
    STD_TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == boxes.size(0) && tensor.size(1) == boxes.size(1),
                    op, ": ", name, " must have the shape [B, K] of boxes, got ", name, " ", shape_of(tensor),
                    " and boxes ", shape_of(boxes));
    check_same_device(op, "boxes", boxes, name, tensor);
  };
  check_rows("scores", scores);
  check_rows("groups", groups);
  check_rows("valid", valid);
  check_floating(op, "boxes", boxes);
  check_floating(op, "scores", scores);
  STD_TORCH_CHECK(groups.scalar_type() == ScalarType::Long, op, ": groups must be int64, got ",
                  dtype_of(groups));
  STD_TORCH_CHECK(valid.scalar_type() == ScalarType::Bool, op, ": valid must be bool, got ", dtype_of(valid));
  check_threshold(op, threshold);
  STD_TORCH_CHECK(max_output >= 0, op, ": max_output must be 0 or more, got ", max_output);
}

}  // namespace maskrcnn_benchmark

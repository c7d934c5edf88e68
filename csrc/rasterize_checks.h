#pragma once

#include <torch/csrc/stable/ops.h>

#include "checks.h"
#include "polygon_edges.h"

namespace maskrcnn_benchmark {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Side of the mask: a bit per pixel must fit a CUDA block's shared memory.
constexpr int64_t kMaxMaskSize = 256;

inline void check_rasterize_arguments(const Tensor& coords, const Tensor& polygon_starts,
                                      const Tensor& instance_starts, const Tensor& instance,
                                      const Tensor& boxes, int64_t size) {
  const char* op = "rasterize_polygons";
  STD_TORCH_CHECK(coords.dim() == 2 && coords.size(1) == 2 && coords.scalar_type() == ScalarType::Float, op,
                  ": coords must be float32 [T, 2], got ", dtype_of(coords), " ", shape_of(coords));
  STD_TORCH_CHECK(boxes.dim() == 2 && boxes.size(1) == 4 && boxes.scalar_type() == ScalarType::Float, op,
                  ": boxes must be float32 [R, 4], got ", dtype_of(boxes), " ", shape_of(boxes));
  STD_TORCH_CHECK(polygon_starts.dim() == 1 && polygon_starts.numel() > 0 &&
                      polygon_starts.scalar_type() == ScalarType::Int,
                  op, ": polygon_starts must be int32 [Q + 1], got ", dtype_of(polygon_starts), " ",
                  shape_of(polygon_starts));
  STD_TORCH_CHECK(instance_starts.dim() == 1 && instance_starts.numel() > 0 &&
                      instance_starts.scalar_type() == ScalarType::Int,
                  op, ": instance_starts must be int32 [G + 1], got ", dtype_of(instance_starts), " ",
                  shape_of(instance_starts));
  STD_TORCH_CHECK(
      instance.dim() == 1 && instance.size(0) == boxes.size(0) && instance.scalar_type() == ScalarType::Long,
      op, ": instance must be int64 [R] with the R of boxes, got ", dtype_of(instance), " ",
      shape_of(instance), " and boxes ", shape_of(boxes));
  STD_TORCH_CHECK(size > 0 && size <= kMaxMaskSize, op, ": size must be between 1 and ", kMaxMaskSize,
                  ", got ", size);
  check_same_device(op, "coords", coords, "boxes", boxes);
  check_same_device(op, "polygon_starts", polygon_starts, "boxes", boxes);
  check_same_device(op, "instance_starts", instance_starts, "boxes", boxes);
  check_same_device(op, "instance", instance, "boxes", boxes);
}

inline Polygons polygons_of(const Tensor& coords, const Tensor& polygon_starts,
                            const Tensor& instance_starts) {
  return {coords.const_data_ptr<float>(),
          polygon_starts.const_data_ptr<int32_t>(),
          instance_starts.const_data_ptr<int32_t>(),
          polygon_starts.numel() - 1,
          instance_starts.numel() - 1,
          coords.size(0)};
}

}  // namespace maskrcnn_benchmark

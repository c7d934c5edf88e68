// Mask targets on CUDA, and their binding to the dispatcher. Nothing synchronises.

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include "cuda/rasterize_polygons_kernels.cuh"
#include "cuda/stream.h"
#include "rasterize_checks.h"

namespace maskrcnn_benchmark::cuda {
namespace {

static_assert(shared_bytes(kMaxMaskSize) <= 48 << 10, "more needs to be asked for before the launch");

Tensor rasterize_polygons(const Tensor& coords, const Tensor& polygon_starts, const Tensor& instance_starts,
                          const Tensor& instance, const Tensor& boxes, int64_t size) {
  check_rasterize_arguments(coords, polygon_starts, instance_starts, instance, boxes, size);
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const auto dense = [](const Tensor& tensor) { return torch::stable::contiguous(tensor); };
  const Tensor xy = dense(coords), vertex_starts = dense(polygon_starts), starts = dense(instance_starts);
  const Tensor indices = dense(instance), regions = dense(boxes);
  const int64_t num_regions = boxes.size(0);
  Tensor masks = torch::stable::new_empty(boxes, {num_regions, size, size}, ScalarType::Byte);
  if (num_regions == 0) {
    return masks;
  }
  const int side = static_cast<int>(size);
  rasterize_kernel<<<static_cast<unsigned>(num_regions), kThreads, shared_bytes(side),
                     current_stream(boxes.get_device_index())>>>(
      polygons_of(xy, vertex_starts, starts), indices.const_data_ptr<int64_t>(),
      regions.const_data_ptr<float>(), side, masks.mutable_data_ptr<uint8_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return masks;
}

}  // namespace
}  // namespace maskrcnn_benchmark::cuda

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CUDA, m) {
  m.impl("rasterize_polygons", TORCH_BOX(&maskrcnn_benchmark::cuda::rasterize_polygons));
}

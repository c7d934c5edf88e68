// NMS on CUDA, and its binding to the dispatcher. batched_nms launches the same kernels
// whatever the data: nothing synchronises, and it can be captured in a CUDA graph.

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <array>
#include <optional>
#include <tuple>

#include "cuda/nms_kernels.cuh"
#include "cuda/stream.h"
#include "nms_checks.h"

namespace maskrcnn_benchmark::cuda {
namespace {

constexpr int64_t kMaxImages = 65535;  // what a grid's third dimension takes

Tensor dense_float(const char* op, const char* name, const Tensor& tensor) {
  STD_TORCH_CHECK(tensor.scalar_type() != ScalarType::Double, op, ": ", name,
                  " is float64, which runs on the CPU only; convert it to float32");
  return torch::stable::contiguous(torch::stable::to(tensor, ScalarType::Float));
}

// Sorted values and their places, along the last dimension, descending and stable.
std::tuple<Tensor, Tensor> sort_descending(const Tensor& keys) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 4> stack{from(keys), from(std::optional<bool>(true)), from(int64_t(-1)),
                                    from(true)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1])};
}

struct Kept {
  Tensor index;     // int64 [images, max_output]
  Tensor num_kept;  // int32 [images]
};

// boxes [images, K, 4] and scores [images, K], float32 and dense, K > 0; groups and valid may be null.
Kept suppress(const Tensor& boxes, const Tensor& scores, const int64_t* groups, const bool* valid,
              int64_t images, int64_t boxes_per_image, double threshold, int64_t max_output,
              cudaStream_t stream) {
  const int64_t n = images * boxes_per_image, words = (boxes_per_image + kTile - 1) / kTile;
  const auto empty = [&](std::initializer_list<int64_t> size, ScalarType type) {
    return torch::stable::new_empty(boxes, size, type);
  };
  const auto zeros = [&](std::initializer_list<int64_t> size, ScalarType type) {
    return torch::stable::new_zeros(boxes, size, type);
  };

  Tensor keys = empty({images, boxes_per_image}, ScalarType::Int);
  key_kernel<<<blocks_for(n), kThreads, 0, stream>>>(boxes.const_data_ptr<float>(),
                                                     scores.const_data_ptr<float>(), valid, n,
                                                     keys.mutable_data_ptr<int32_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const auto [sorted_keys, order] = sort_descending(keys);

  Tensor ranked_boxes = empty({images, boxes_per_image, 4}, ScalarType::Float);
  Tensor ranked_groups = empty({groups ? n : 0}, ScalarType::Long);
  Tensor counts = empty({images}, ScalarType::Int);
  RankedBox* ranked = reinterpret_cast<RankedBox*>(ranked_boxes.mutable_data_ptr<float>());
  int64_t* ranked_group = groups ? ranked_groups.mutable_data_ptr<int64_t>() : nullptr;
  rank_kernel<<<blocks_for(n), kThreads, 0, stream>>>(
      boxes.const_data_ptr<float>(), groups, sorted_keys.const_data_ptr<int32_t>(),
      order.const_data_ptr<int64_t>(), n, boxes_per_image, ranked, ranked_group,
      counts.mutable_data_ptr<int32_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();

  Kept result{zeros({images, max_output}, ScalarType::Long), zeros({images}, ScalarType::Int)};
  Tensor removed = zeros({images, words}, ScalarType::Long);
  const int64_t num_rows = rows_of_range(images, words);
  Tensor overlap = empty({images, num_rows, words}, ScalarType::Long);
  uint64_t* overlap_words = reinterpret_cast<uint64_t*>(overlap.mutable_data_ptr<int64_t>());
  const NmsState state{ranked,
                       ranked_group,
                       counts.const_data_ptr<int32_t>(),
                       reinterpret_cast<uint64_t*>(removed.mutable_data_ptr<int64_t>()),
                       result.num_kept.mutable_data_ptr<int32_t>(),
                       boxes_per_image,
                       words,
                       max_output};
  const dim3 grid{unsigned(words), unsigned(num_rows / kTile), unsigned(images)};
  for (int64_t row = 0; row < boxes_per_image; row += num_rows) {
    overlap_kernel<<<grid, kTile, 0, stream>>>(state, NmsThreshold<float>(threshold), row, num_rows,
                                               overlap_words);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    sweep_kernel<<<unsigned(images), kThreads, 0, stream>>>(state, order.const_data_ptr<int64_t>(), row,
                                                            num_rows, overlap_words,
                                                            result.index.mutable_data_ptr<int64_t>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return result;
}

Tensor nms(const Tensor& boxes, const Tensor& scores, double threshold) {
  check_nms_arguments(boxes, scores, threshold);
  const int64_t num_boxes = boxes.size(0);
  if (num_boxes == 0) {
    return torch::stable::new_empty(boxes, {0}, ScalarType::Long);
  }
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const cudaStream_t stream = current_stream(boxes.get_device_index());
  Kept kept = suppress(dense_float("nms", "boxes", boxes), dense_float("nms", "scores", scores), nullptr,
                       nullptr, 1, num_boxes, threshold, num_boxes, stream);
  // The size of the result is only known on the device.
  int32_t count = 0;
  STD_CUDA_CHECK(cudaMemcpyAsync(&count, kept.num_kept.const_data_ptr<int32_t>(), sizeof(count),
                                 cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  Tensor row = torch::stable::view(kept.index, {num_boxes});
  return torch::stable::clone(torch::stable::narrow(row, 0, 0, count));
}

std::tuple<Tensor, Tensor> batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& groups,
                                       const Tensor& valid, double threshold, int64_t max_output) {
  check_batched_nms_arguments(boxes, scores, groups, valid, threshold, max_output);
  const int64_t images = boxes.size(0), boxes_per_image = boxes.size(1), n = images * max_output;
  if (images == 0 || boxes_per_image == 0 || max_output == 0) {
    return {torch::stable::new_zeros(boxes, {images, max_output}, ScalarType::Long),
            torch::stable::new_zeros(boxes, {images, max_output}, ScalarType::Bool)};
  }
  STD_TORCH_CHECK(images <= kMaxImages, "batched_nms: at most ", kMaxImages, " images, got ", images);
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const cudaStream_t stream = current_stream(boxes.get_device_index());
  const Tensor dense_groups = torch::stable::contiguous(groups),
               dense_valid = torch::stable::contiguous(valid);
  const Kept kept =
      suppress(dense_float("batched_nms", "boxes", boxes), dense_float("batched_nms", "scores", scores),
               dense_groups.const_data_ptr<int64_t>(), dense_valid.const_data_ptr<bool>(), images,
               boxes_per_image, threshold, max_output, stream);
  Tensor keep = torch::stable::new_empty(boxes, {images, max_output}, ScalarType::Bool);
  keep_kernel<<<blocks_for(n), kThreads, 0, stream>>>(kept.num_kept.const_data_ptr<int32_t>(), n, max_output,
                                                      keep.mutable_data_ptr<bool>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {kept.index, keep};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CUDA, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("batched_nms", TORCH_BOX(&batched_nms));
}

}  // namespace maskrcnn_benchmark::cuda

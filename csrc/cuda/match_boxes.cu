// Matching of boxes to ground truth on CUDA, and its binding to the dispatcher. Nothing synchronises.

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include "cuda/match_boxes_kernels.cuh"
#include "cuda/stream.h"
#include "match_checks.h"

namespace maskrcnn_benchmark::cuda {
namespace {

constexpr int64_t kMaxImages = 65535;    // what a grid's second dimension takes
constexpr int64_t kMaxBlocks = INT_MAX;  // its first

Tensor match_boxes(const Tensor& boxes, const Tensor& gt_boxes, const Tensor& gt_valid, double high_threshold,
                   double low_threshold, bool allow_low_quality) {
  check_match_arguments(boxes, gt_boxes, gt_valid, high_threshold, low_threshold);
  const int64_t images = gt_boxes.size(0), num_gt = gt_boxes.size(1);
  const int64_t num_boxes = boxes.size(boxes.dim() - 2);
  STD_TORCH_CHECK(images <= kMaxImages, "match_boxes: at most ", kMaxImages, " images, got ", images);
  STD_TORCH_CHECK(num_boxes <= kMaxBlocks * kThreads, "match_boxes: at most ", kMaxBlocks * kThreads,
                  " boxes, got ", num_boxes);
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const cudaStream_t stream = current_stream(boxes.get_device_index());
  Tensor matches = torch::stable::new_empty(boxes, {images, num_boxes}, ScalarType::Long);
  if (images == 0 || num_boxes == 0) {
    return matches;
  }
  const Tensor dense_boxes = torch::stable::contiguous(boxes);
  const Tensor dense_gt_boxes = torch::stable::contiguous(gt_boxes);
  const Tensor dense_valid = torch::stable::contiguous(gt_valid);
  const MatchProblem problem{dense_boxes.const_data_ptr<float>(),
                             dense_gt_boxes.const_data_ptr<float>(),
                             dense_valid.const_data_ptr<bool>(),
                             num_boxes,
                             num_gt,
                             boxes.dim() == 2};
  const dim3 grid{blocks_for(num_boxes), unsigned(images)};
  const bool restore = allow_low_quality && num_gt > 0;
  Tensor highest = torch::stable::new_empty(boxes, {restore ? images * num_gt : 0}, ScalarType::Float);
  if (restore) {
    torch::stable::fill_(highest, double(kNoOverlap));
    highest_kernel<<<grid, kThreads, 0, stream>>>(problem, highest.mutable_data_ptr<float>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  match_kernel<<<grid, kThreads, 0, stream>>>(problem, match_rule(high_threshold, low_threshold),
                                              restore ? highest.const_data_ptr<float>() : nullptr,
                                              matches.mutable_data_ptr<int64_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return matches;
}

}  // namespace
}  // namespace maskrcnn_benchmark::cuda

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CUDA, m) {
  m.impl("match_boxes", TORCH_BOX(&maskrcnn_benchmark::cuda::match_boxes));
}

// Binds the CPU kernel of nms and batched_nms to the dispatcher.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <tuple>

#include "cpu/nms_kernel.h"
#include "nms_checks.h"

namespace maskrcnn_benchmark::cpu {
namespace {

// float64 is computed in float64, everything else in float32.
ScalarType compute_type(const Tensor& boxes, const Tensor& scores) {
  const bool wide = boxes.scalar_type() == ScalarType::Double || scores.scalar_type() == ScalarType::Double;
  return wide ? ScalarType::Double : ScalarType::Float;
}

template <typename T>
void run(const Tensor& boxes, const Tensor& scores, const int64_t* groups, const bool* valid, int64_t images,
         double threshold, int64_t max_output, int64_t* index, int64_t* counts) {
  const int64_t boxes_per_image = images ? scores.numel() / images : 0;
  suppress_batch<T>(
      {boxes.const_data_ptr<T>(), scores.const_data_ptr<T>(), groups, valid, images, boxes_per_image},
      threshold, max_output, index, counts);
}

void dispatch(const Tensor& boxes, const Tensor& scores, const int64_t* groups, const bool* valid,
              int64_t images, double threshold, int64_t max_output, int64_t* index, int64_t* counts) {
  const ScalarType type = compute_type(boxes, scores);
  const Tensor dense_boxes = torch::stable::contiguous(torch::stable::to(boxes, type));
  const Tensor dense_scores = torch::stable::contiguous(torch::stable::to(scores, type));
  const auto run_typed = type == ScalarType::Double ? run<double> : run<float>;
  run_typed(dense_boxes, dense_scores, groups, valid, images, threshold, max_output, index, counts);
}

Tensor nms(const Tensor& boxes, const Tensor& scores, double threshold) {
  check_nms_arguments(boxes, scores, threshold);
  const int64_t num_boxes = boxes.size(0);
  std::vector<int64_t> index(num_boxes);
  int64_t count = 0;
  dispatch(boxes, scores, nullptr, nullptr, 1, threshold, num_boxes, index.data(), &count);
  Tensor kept = torch::stable::new_empty(boxes, {count}, ScalarType::Long);
  std::copy_n(index.data(), count, kept.mutable_data_ptr<int64_t>());
  return kept;
}

std::tuple<Tensor, Tensor> batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& groups,
                                       const Tensor& valid, double threshold, int64_t max_output) {
  check_batched_nms_arguments(boxes, scores, groups, valid, threshold, max_output);
  const int64_t images = boxes.size(0);
  const Tensor dense_groups = torch::stable::contiguous(groups);
  const Tensor dense_valid = torch::stable::contiguous(valid);
  Tensor index = torch::stable::new_zeros(boxes, {images, max_output}, ScalarType::Long);
  Tensor keep = torch::stable::new_zeros(boxes, {images, max_output}, ScalarType::Bool);
  std::vector<int64_t> counts(images);
  dispatch(boxes, scores, dense_groups.const_data_ptr<int64_t>(), dense_valid.const_data_ptr<bool>(), images,
           threshold, max_output, index.mutable_data_ptr<int64_t>(), counts.data());
  bool* keep_rows = keep.mutable_data_ptr<bool>();
  for (int64_t image = 0; image < images; ++image) {
    std::fill_n(keep_rows + image * max_output, counts[image], true);
  }
  return {index, keep};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("batched_nms", TORCH_BOX(&batched_nms));
}

}  // namespace maskrcnn_benchmark::cpu

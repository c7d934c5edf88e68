// roi_align over a feature pyramid on CUDA, forward and backward, and its binding to the dispatcher. One
// launch pools all levels; nothing synchronises.
//
// The backward pass adds with atomics, in float32 (float64 for float64), in no fixed order.

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include <vector>

#include "cuda/roi_align_kernels.cuh"
#include "cuda/stream.h"
#include "roi_align_checks.h"

namespace maskrcnn_benchmark::cuda {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

void check_items(const char* op, const Pyramid& pyramid) {
  const int64_t items = int64_t(pyramid.pooled_h) * pyramid.pooled_w * pyramid.channels;
  STD_TORCH_CHECK(items <= kMaxItems, op, ": bins times channels must be at most ", kMaxItems, ", got ",
                  items);
}

template <typename T>
void run_forward(const std::vector<Tensor>& features, const Tensor& rois, const Pyramid& pyramid,
                 bool channels_last, Tensor& out, cudaStream_t stream) {
  using A = AccumulateT<T>;
  // Maps of one format are pooled by one kernel: all are brought to the first one's.
  const bool maps_last = is_channels_last(features[0]);
  Maps<const T> maps{};
  std::vector<Tensor> dense;
  for (int level = 0; level < pyramid.num_levels; ++level) {
    dense.push_back(torch::stable::contiguous(features[level], memory_format(maps_last)));
    set_map(maps, level, dense.back().template const_data_ptr<T>(), pyramid, maps_last);
  }
  choose_kernel<T>(pyramid, maps, maps_last, [&](auto vector, auto last) {
    forward_kernel<T, A, vector(), last()>
        <<<launch_grid(pyramid, rois.size(0), vector()), kThreads, 0, stream>>>(
            pyramid, maps, rois.const_data_ptr<A>(), bin_layout(pyramid, channels_last),
            out.mutable_data_ptr<T>());
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <typename T>
void run_backward(const Tensor& grad, const Tensor& rois, const Pyramid& pyramid, bool channels_last,
                  const std::vector<Tensor>& sums, cudaStream_t stream) {
  using A = AccumulateT<T>;
  const bool grad_last = is_channels_last(grad);
  const Tensor dense = torch::stable::contiguous(grad, memory_format(grad_last));
  Maps<A> maps{};
  for (int level = 0; level < pyramid.num_levels; ++level) {
    set_map(maps, level, sums[level].mutable_data_ptr<A>(), pyramid, channels_last);
  }
  choose_kernel<T>(pyramid, maps, channels_last, [&](auto vector, auto last) {
    backward_kernel<T, A, vector(), last()>
        <<<launch_grid(pyramid, rois.size(0), vector()), kThreads, 0, stream>>>(
            pyramid, maps, rois.const_data_ptr<A>(), bin_layout(pyramid, grad_last),
            dense.const_data_ptr<T>());
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor roi_align(const std::vector<Tensor>& features, const Tensor& rois, const std::vector<double>& scales,
                 int64_t pooled_h, int64_t pooled_w, int64_t sampling_ratio, bool channels_last) {
  const char* op = "roi_align";
  STD_TORCH_CHECK(!features.empty(), op, ": no feature map given");
  check_same_device(op, "features", features[0], "rois", rois);
  const Pyramid pyramid = make_pyramid(op, shapes_of(op, features), scales, rois,
                                       {pooled_h, pooled_w, sampling_ratio, channels_last});
  check_items(op, pyramid);
  const torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  const cudaStream_t stream = current_stream(rois.get_device_index());
  const ScalarType type = features[0].scalar_type();
  Tensor out = empty_as(features[0], {rois.size(0), features[0].size(1), pooled_h, pooled_w}, channels_last);
  if (out.numel() == 0) {
    return out;
  }
  const Tensor boxes = rois_for(rois, type);
  switch (type) {
    case ScalarType::Float:
      run_forward<float>(features, boxes, pyramid, channels_last, out, stream);
      break;
    case ScalarType::Double:
      run_forward<double>(features, boxes, pyramid, channels_last, out, stream);
      break;
    case ScalarType::BFloat16:
      run_forward<BFloat16>(features, boxes, pyramid, channels_last, out, stream);
      break;
    case ScalarType::Half:
      run_forward<Half>(features, boxes, pyramid, channels_last, out, stream);
      break;
    default:
      STD_TORCH_CHECK(false, op, ": features must be floating, got ", dtype_of(features[0]));
  }
  return out;
}

std::vector<Tensor> roi_align_backward(const Tensor& grad, const Tensor& rois,
                                       const std::vector<int64_t>& shapes, const std::vector<double>& scales,
                                       int64_t pooled_h, int64_t pooled_w, int64_t sampling_ratio,
                                       bool channels_last) {
  const char* op = "roi_align_backward";
  const Pyramid pyramid =
      make_pyramid(op, shapes, scales, rois, {pooled_h, pooled_w, sampling_ratio, channels_last});
  check_grad(op, grad, rois, pyramid);
  check_items(op, pyramid);
  const torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  const cudaStream_t stream = current_stream(rois.get_device_index());
  const ScalarType type = grad.scalar_type();
  const ScalarType sum_type = type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  std::vector<Tensor> sums;
  for (size_t i = 0; i < scales.size(); ++i) {
    const std::vector<int64_t> shape(shapes.begin() + 4 * i, shapes.begin() + 4 * i + 4);
    sums.push_back(torch::stable::empty(shape, sum_type, std::nullopt, grad.device(), std::nullopt,
                                        memory_format(channels_last)));
    torch::stable::zero_(sums.back());
  }
  const Tensor boxes = rois_for(rois, type);
  if (grad.numel() > 0) {
    switch (type) {
      case ScalarType::Float:
        run_backward<float>(grad, boxes, pyramid, channels_last, sums, stream);
        break;
      case ScalarType::Double:
        run_backward<double>(grad, boxes, pyramid, channels_last, sums, stream);
        break;
      case ScalarType::BFloat16:
        run_backward<BFloat16>(grad, boxes, pyramid, channels_last, sums, stream);
        break;
      case ScalarType::Half:
        run_backward<Half>(grad, boxes, pyramid, channels_last, sums, stream);
        break;
      default:
        STD_TORCH_CHECK(false, op, ": grad must be floating, got ", dtype_of(grad));
    }
  }
  for (Tensor& level : sums) {
    level = torch::stable::to(level, type);  // keeps the memory format
  }
  return sums;
}

}  // namespace
}  // namespace maskrcnn_benchmark::cuda

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&maskrcnn_benchmark::cuda::roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&maskrcnn_benchmark::cuda::roi_align_backward));
}

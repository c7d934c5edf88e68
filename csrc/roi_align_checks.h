#pragma once

#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "checks.h"
#include "memory_format.h"
#include "roi_geometry.h"

namespace maskrcnn_benchmark {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Bins and sampling of one roi_align call.
struct PoolingOptions {
  int64_t pooled_h;
  int64_t pooled_w;
  int64_t sampling_ratio;
  bool channels_last;  // memory format of the result
};

// shapes: (N, C, H, W) of every level, one after another.
inline Pyramid make_pyramid(const char* op, const std::vector<int64_t>& shapes,
                            const std::vector<double>& scales, const Tensor& rois,
                            const PoolingOptions& options) {
  const int64_t levels = static_cast<int64_t>(scales.size());
  STD_TORCH_CHECK(levels >= 1 && levels <= kMaxLevels, op, ": between 1 and ", kMaxLevels,
                  " levels are supported, got ", levels, " scales");
  STD_TORCH_CHECK(static_cast<int64_t>(shapes.size()) == 4 * levels, op, ": got ", levels, " scales for ",
                  shapes.size() / 4, " feature maps");
  STD_TORCH_CHECK(rois.dim() == 2 && rois.size(1) == 5, op,
                  ": rois must have the shape [K, 5] (batch index, x1, y1, x2, y2), got ", shape_of(rois));
  STD_TORCH_CHECK(options.pooled_h > 0 && options.pooled_w > 0, op,
                  ": the output size must be positive, got ", options.pooled_h, " x ", options.pooled_w);
  STD_TORCH_CHECK(options.sampling_ratio >= 0, op, ": sampling_ratio must be 0 (adaptive) or more, got ",
                  options.sampling_ratio);
  Pyramid pyramid{};
  pyramid.num_levels = static_cast<int>(levels);
  pyramid.batch = static_cast<int>(shapes[0]);
  pyramid.channels = static_cast<int>(shapes[1]);
  pyramid.pooled_h = static_cast<int>(options.pooled_h);
  pyramid.pooled_w = static_cast<int>(options.pooled_w);
  pyramid.sampling_ratio = static_cast<int>(options.sampling_ratio);
  for (int64_t i = 0; i < levels; ++i) {
    STD_TORCH_CHECK(scales[i] > 0 && std::isfinite(scales[i]), op, ": scales must be positive numbers, got ",
                    scales[i], " for level ", i);
    STD_TORCH_CHECK(shapes[4 * i] == shapes[0] && shapes[4 * i + 1] == shapes[1], op,
                    ": all levels must have the same batch size and channels, level ", i, " has N ",
                    shapes[4 * i], ", C ", shapes[4 * i + 1], ", level 0 has N ", shapes[0], ", C ",
                    shapes[1]);
    const int64_t height = shapes[4 * i + 2], width = shapes[4 * i + 3];
    STD_TORCH_CHECK(height < INT32_MAX && width < INT32_MAX && shapes[1] < INT32_MAX, op,
                    ": a side of level ", i, " is too long");
    pyramid.levels[i] = {static_cast<int>(height), static_cast<int>(width), scales[i]};
  }
  pyramid.finest = static_cast<int>(std::lround(-std::log2(scales[0])));
  return pyramid;
}

inline std::vector<int64_t> shapes_of(const char* op, const std::vector<Tensor>& features) {
  std::vector<int64_t> shapes;
  for (const Tensor& feature : features) {
    STD_TORCH_CHECK(feature.dim() == 4, op, ": a feature map must have the shape [N, C, H, W], got ",
                    shape_of(feature));
    STD_TORCH_CHECK(feature.scalar_type() == features[0].scalar_type(), op,
                    ": all feature maps must have one dtype, got ", dtype_of(features[0]), " and ",
                    dtype_of(feature));
    check_same_device(op, "all feature maps", feature, "rois", features[0]);
    for (int64_t i = 0; i < 4; ++i) {
      shapes.push_back(feature.size(i));
    }
  }
  return shapes;
}

inline void check_grad(const char* op, const Tensor& grad, const Tensor& rois, const Pyramid& pyramid) {
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(0) == rois.size(0) && grad.size(1) == pyramid.channels &&
                      grad.size(2) == pyramid.pooled_h && grad.size(3) == pyramid.pooled_w,
                  op, ": grad must have the shape [", rois.size(0), ", ", pyramid.channels, ", ",
                  pyramid.pooled_h, ", ", pyramid.pooled_w, "], got ", shape_of(grad));
  check_same_device(op, "grad", grad, "rois", rois);
}

// Boxes are float32 whatever the features are, float64 only beside float64 features.
inline Tensor rois_for(const Tensor& rois, ScalarType features) {
  const ScalarType type = features == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  return torch::stable::contiguous(torch::stable::to(rois, type));
}

}  // namespace maskrcnn_benchmark

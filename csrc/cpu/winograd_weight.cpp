// The filters of winograd.cpp, transformed and packed once before they are used often.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <vector>

#include "cpu/conv_common.h"
#include "simd.h"

namespace maskrcnn_benchmark::cpu {
namespace {

int64_t winograd_columns() {
  return conv_kernels() == nullptr ? 0 : conv_kernels()->columns;
}

// The words of 32 bits that a panel of 16-bit integers takes; 0 where the processor does not multiply them.
int64_t int16_panel_size(int64_t channels) {
  return int16_kernels() == nullptr ? 0 : int16_kernels()->panel_size(channels);
}

constexpr int kTaps = 9;
constexpr int kMostColumns = 32;

// U = G g G^T of the filters of `count` outputs for one input channel, in double: weights are transformed
// once and used often. filters: the first one's taps, the next `stride` further on.
MASKRCNN_MULTIVERSION void transform_filters(const float* filters, int64_t stride, int count,
                                             int64_t position_stride, float* out) {
  constexpr double h = 0.70710678118654752, r = 1.4142135623730950;  // the points +-h and +-r
  constexpr double g[kInputTile][3] = {{1, 0, 0},
                                       {-2.0 / 3, -2 * h / 3, -1.0 / 3},
                                       {-2.0 / 3, 2 * h / 3, -1.0 / 3},
                                       {1.0 / 6, r / 6, 1.0 / 3},
                                       {1.0 / 6, -r / 6, 1.0 / 3},
                                       {0, 0, 1}};
  double taps[kTaps][kMostColumns] = {};
  for (int k = 0; k < count; ++k) {
    for (int tap = 0; tap < kTaps; ++tap) {
      taps[tap][k] = filters[k * stride + tap];
    }
  }
  for (int y = 0; y < kInputTile; ++y) {
    double row[3][kMostColumns];
    for (int x = 0; x < 3; ++x) {
      for (int k = 0; k < kMostColumns; ++k) {
        row[x][k] = g[y][0] * taps[x][k] + g[y][1] * taps[3 + x][k] + g[y][2] * taps[6 + x][k];
      }
    }
    for (int x = 0; x < kInputTile; ++x) {
      float* target = out + (y * kInputTile + x) * position_stride;
      for (int k = 0; k < count; ++k) {
        target[k] = static_cast<float>(row[0][k] * g[x][0] + row[1][k] * g[x][1] + row[2][k] * g[x][2]);
      }
    }
  }
}

Tensor winograd_weight(const Tensor& weight, bool int16) {
  const char* op = "winograd_weight";
  const ConvKernels& kernels = checked_kernels(op, int16);
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3, op,
                  ": weight must have the shape [K, C, 3, 3], got ", shape_of(weight));
  check_float(op, "weight", weight);
  const int64_t outputs = weight.size(0), channels = weight.size(1);
  check_channels(op, channels, outputs);
  const int64_t columns = kernels.columns, panels = ceil_div(outputs, columns);
  const int64_t size = kernels.panel_size(channels);
  const Tensor filters = torch::stable::contiguous(weight);
  Tensor packed = new_packed_weight(weight, int16, {panels, kPositions, size});
  const float* from = filters.const_data_ptr<float>();
  float* to = packed_data(packed);
  torch::stable::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> transformed(kPositions * channels * columns);
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t k = panel * columns;
      const int count = static_cast<int>(std::min(columns, outputs - k));
      std::fill(transformed.begin(), transformed.end(), 0.0f);
      for (int64_t c = 0; c < channels; ++c) {
        transform_filters(from + (k * channels + c) * kTaps, channels * kTaps, count, channels * columns,
                          transformed.data() + c * columns);
      }
      for (int64_t p = 0; p < kPositions; ++p) {
        kernels.pack_panel(transformed.data() + p * channels * columns, channels,
                           to + (panel * kPositions + p) * size);
      }
    }
  });
  return packed;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CompositeExplicitAutograd, m) {
  m.impl("winograd_columns", TORCH_BOX(&winograd_columns));
  m.impl("int16_panel_size", TORCH_BOX(&int16_panel_size));
}

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("winograd_weight", TORCH_BOX(&winograd_weight));
}

}  // namespace maskrcnn_benchmark::cpu

#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstdint>

namespace maskrcnn_benchmark::cpu {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

// The type a kernel computes in.
template <typename T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

// The inner loops of roi_align over the channels of feature pixels stored one after another, compiled for
// several instruction sets. T is the type of the features, A of the accumulation.
#define MASKRCNN_CHANNEL_KERNELS(T, A)                                                            \
  /* out[c] = sum over t of weights[t] * pixels[t][c] */                                          \
  void sum_pixels(const T* const* pixels, const A* weights, int count, int64_t channels, A* out); \
  /* sums[c] += weight * values[c] */                                                             \
  void add_pixel(const T* values, A weight, int64_t channels, A* sums);                           \
  /* out[i] = values[i], rounded to T */                                                          \
  void round_values(const A* values, int64_t count, T* out);                                      \
  /* out[c * out_stride + p] = rows[p * row_stride + c], rounded to T */                          \
  void rows_to_planes(const A* rows, int64_t row_stride, int64_t pixels, int64_t channels,        \
                      int64_t out_stride, T* out);                                                \
  /* rows[p * row_stride + c] = planes[c * plane_stride + p] */                                   \
  void planes_to_rows(const T* planes, int64_t plane_stride, int64_t pixels, int64_t channels,    \
                      int64_t row_stride, T* rows);

MASKRCNN_CHANNEL_KERNELS(float, float)
MASKRCNN_CHANNEL_KERNELS(double, double)
MASKRCNN_CHANNEL_KERNELS(BFloat16, float)
MASKRCNN_CHANNEL_KERNELS(Half, float)

#undef MASKRCNN_CHANNEL_KERNELS

}  // namespace maskrcnn_benchmark::cpu

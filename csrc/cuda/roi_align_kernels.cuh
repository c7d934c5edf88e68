#pragma once

// Device code of roi_align, and what its launches need.

#include <cuda_runtime.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "roi_geometry.h"

namespace maskrcnn_benchmark::cuda {

constexpr int kThreads = 256;
// A thread works on a few outputs of one roi, so that finding the roi's place is paid once for all of them.
constexpr int kOutputsPerThread = 4;

// Where the maps lie. Strides count elements; a pixel's channels are neighbours in channels_last maps.
template <typename T>
struct Maps {
  T* levels[kMaxLevels];
  int64_t channel_stride[kMaxLevels];
  int64_t pixel_stride[kMaxLevels];
};

// One output (or incoming gradient) element's place: k-th roi, bin, channel.
struct BinLayout {
  int64_t roi_stride;
  int64_t bin_stride;
  int64_t channel_stride;
};

// kVector neighbouring channels, loaded and stored in one transaction.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Pack {
  T values[kVector];
};

// Work item i of a roi: channels fastest where they are neighbours in the maps, else bins fastest.
template <int kVector, bool kChannelsLast>
__device__ void split_item(const Pyramid& pyramid, int i, int* bin, int* channel) {
  const int bins = pyramid.pooled_h * pyramid.pooled_w;
  if constexpr (kChannelsLast) {
    const int vectors = pyramid.channels / kVector;
    *bin = i / vectors;
    *channel = i % vectors * kVector;
  } else {
    *bin = i % bins;
    *channel = i / bins;
  }
}

// Calls visit(offset of the pixel, weight) for the four pixels of every sample of a bin.
template <typename A, typename Visitor>
__device__ void visit_samples(const RoiGrid<A>& grid, int i, int j, Visitor visit) {
  const A share = A(1) / (A(grid.y.grid) * A(grid.x.grid));
  int first_y, last_y, first_x, last_x;
  sample_range(grid.y, i, &first_y, &last_y);
  sample_range(grid.x, j, &first_x, &last_x);
  for (int sample_y = first_y; sample_y < last_y; ++sample_y) {
    BilinearPair<A> y;
    if (!bilinear_pair(grid.y.position(i, sample_y), grid.y.size, &y)) {
      continue;
    }
    const int64_t low = int64_t(y.low) * grid.x.size, high = int64_t(y.high) * grid.x.size;
    for (int sample_x = first_x; sample_x < last_x; ++sample_x) {
      BilinearPair<A> x;
      if (bilinear_pair(grid.x.position(j, sample_x), grid.x.size, &x)) {
        visit(low + x.low, y.weight_low * x.weight_low * share);
        visit(low + x.high, y.weight_low * x.weight_high * share);
        visit(high + x.low, y.weight_high * x.weight_low * share);
        visit(high + x.high, y.weight_high * x.weight_high * share);
      }
    }
  }
}

// blockIdx.x: roi; blockIdx.y and threads: its bins and channels.
template <typename T, typename A, int kVector, bool kChannelsLast>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Pyramid pyramid, Maps<const T> maps, const A* rois, BinLayout layout, T* out) {
  const int64_t k = blockIdx.x;
  const RoiGrid<A> grid = grid_of_roi(rois + 5 * k, pyramid);
  const int bins = pyramid.pooled_h * pyramid.pooled_w, items = bins * (pyramid.channels / kVector);
  const T* map = nullptr;
  int64_t pixel_stride = 0, channel_stride = 0;
  if (grid.valid) {
    pixel_stride = maps.pixel_stride[grid.level];
    channel_stride = maps.channel_stride[grid.level];
    map = maps.levels[grid.level] + grid.batch * int64_t(pyramid.channels) * grid.y.size * grid.x.size;
  }
  for (int i = blockIdx.y * kThreads + threadIdx.x; i < items; i += gridDim.y * kThreads) {
    int bin, channel;
    split_item<kVector, kChannelsLast>(pyramid, i, &bin, &channel);
    A sums[kVector] = {};
    if (grid.valid) {
      const T* base = map + channel * channel_stride;
      visit_samples(grid, bin / pyramid.pooled_w, bin % pyramid.pooled_w, [&](int64_t pixel, A weight) {
        const auto pack = *reinterpret_cast<const Pack<T, kVector>*>(base + pixel * pixel_stride);
#pragma unroll
        for (int v = 0; v < kVector; ++v) {
          sums[v] += weight * static_cast<A>(pack.values[v]);
        }
      });
    }
    T* target = out + k * layout.roi_stride + bin * layout.bin_stride + channel * layout.channel_stride;
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      target[v * layout.channel_stride] = static_cast<T>(sums[v]);
    }
  }
}

// Compute capability 9 adds four neighbouring floats in one transaction. (So do the tests that run the
// kernels on the host, where __CUDACC__ is not defined.)
#if !defined(__CUDACC__) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
constexpr bool kAddsFourFloats = true;
#else
constexpr bool kAddsFourFloats = false;
#endif

template <typename A, int kVector>
__device__ void add_pack(A* target, const A (&values)[kVector]) {
  if constexpr (kAddsFourFloats && sizeof(A) == sizeof(float) && kVector % 4 == 0) {
#pragma unroll
    for (int v = 0; v < kVector; v += 4) {
      atomicAdd(reinterpret_cast<float4*>(target + v),
                make_float4(values[v], values[v + 1], values[v + 2], values[v + 3]));
    }
  } else {
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      atomicAdd(target + v, values[v]);
    }
  }
}

// The mirror image: each element of the gradient is sent to the pixels that its bin was pooled from.
template <typename T, typename A, int kVector, bool kChannelsLast>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Pyramid pyramid, Maps<A> maps, const A* rois, BinLayout layout, const T* grad) {
  const int64_t k = blockIdx.x;
  const RoiGrid<A> grid = grid_of_roi(rois + 5 * k, pyramid);
  if (!grid.valid) {
    return;
  }
  const int64_t pixel_stride = maps.pixel_stride[grid.level];
  const int64_t channel_stride = maps.channel_stride[grid.level];
  A* map = maps.levels[grid.level] + grid.batch * int64_t(pyramid.channels) * grid.y.size * grid.x.size;
  const int bins = pyramid.pooled_h * pyramid.pooled_w, items = bins * (pyramid.channels / kVector);
  for (int i = blockIdx.y * kThreads + threadIdx.x; i < items; i += gridDim.y * kThreads) {
    int bin, channel;
    split_item<kVector, kChannelsLast>(pyramid, i, &bin, &channel);
    const T* source =
        grad + k * layout.roi_stride + bin * layout.bin_stride + channel * layout.channel_stride;
    A values[kVector];
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      values[v] = static_cast<A>(source[v * layout.channel_stride]);
    }
    A* base = map + channel * channel_stride;
    visit_samples(grid, bin / pyramid.pooled_w, bin % pyramid.pooled_w, [&](int64_t pixel, A weight) {
      A parts[kVector];
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        parts[v] = weight * values[v];
      }
      add_pack(base + pixel * pixel_stride, parts);
    });
  }
}

// Launches: the host's side.

constexpr int64_t kVectorBytes = 16;
constexpr int64_t kMaxGridY = 65535;

template <typename T>
using AccumulateT = std::conditional_t<std::is_same_v<T, double>, double, float>;

// The most elements of one output roi: an int counts them, and goes up to one stride beyond the last.
constexpr int64_t kMaxItems = INT32_MAX - kMaxGridY * kThreads;

inline BinLayout bin_layout(const Pyramid& pyramid, bool channels_last) {
  const int64_t bins = int64_t(pyramid.pooled_h) * pyramid.pooled_w, channels = pyramid.channels;
  return channels_last ? BinLayout{bins * channels, channels, 1} : BinLayout{bins * channels, 1, bins};
}

template <typename T>
void set_map(Maps<T>& maps, int level, T* data, const Pyramid& pyramid, bool channels_last) {
  const LevelSize& size = pyramid.levels[level];
  maps.levels[level] = data;
  maps.pixel_stride[level] = channels_last ? pyramid.channels : 1;
  maps.channel_stride[level] = channels_last ? 1 : int64_t(size.height) * size.width;
}

inline dim3 launch_grid(const Pyramid& pyramid, int64_t num_rois, int vector) {
  const int64_t items = int64_t(pyramid.pooled_h) * pyramid.pooled_w * (pyramid.channels / vector);
  const int64_t per_block = kThreads * kOutputsPerThread;
  return dim3(static_cast<unsigned>(num_rois),
              static_cast<unsigned>(std::clamp<int64_t>((items + per_block - 1) / per_block, 1, kMaxGridY)));
}

// Calls launch(vector, channels_last), both compile-time constants: in which pieces the maps are read or
// added to, where T is the features' type. Packs take channels_last maps that lie on multiples of their size.
template <typename T, typename U, typename Launch>
void choose_kernel(const Pyramid& pyramid, const Maps<U>& maps, bool channels_last, const Launch& launch) {
  constexpr int kVector = kVectorBytes / sizeof(T);
  bool vectorises = pyramid.channels % kVector == 0;
  for (int level = 0; level < pyramid.num_levels; ++level) {
    vectorises = vectorises && reinterpret_cast<uintptr_t>(maps.levels[level]) % kVectorBytes == 0;
  }
  if (!channels_last) {
    launch(std::integral_constant<int, 1>{}, std::false_type{});
  } else if (vectorises) {
    launch(std::integral_constant<int, kVector>{}, std::true_type{});
  } else {
    launch(std::integral_constant<int, 1>{}, std::true_type{});
  }
}

}  // namespace maskrcnn_benchmark::cuda

#pragma once

// Where a region of interest samples its feature map: shared by the CPU and the CUDA kernels, so that
// both take the same samples to the last bit.
//
// Legacy boxes (the family's aligned=False): no half-pixel shift, a roi is at least one feature pixel
// wide, and the area that chooses the pyramid level counts pixels (x2 - x1 + 1).

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define MASKRCNN_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define MASKRCNN_HOST_DEVICE inline
#endif

namespace maskrcnn_benchmark {

constexpr int kMaxLevels = 8;
// Adaptive sampling of an absurdly large roi: the number of samples stays an int.
constexpr int kMaxGrid = 1 << 20;
// A grid coarser than this is walked in full; a finer one only where it meets the feature map.
constexpr int kShortGrid = 8;

// One product, never fused with an addition that follows (nvcc would, and the CPU build must not).
MASKRCNN_HOST_DEVICE float product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

MASKRCNN_HOST_DEVICE double product(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

struct LevelSize {
  int height;
  int width;
  double scale;  // feature pixels per image pixel
};

// The pyramid as the kernels need it, without its data pointers.
struct Pyramid {
  LevelSize levels[kMaxLevels];
  int num_levels;
  int finest;  // k_min = -log2(scale of the first level)
  int batch;
  int channels;
  int pooled_h;
  int pooled_w;
  int sampling_ratio;
};

// Samples of one roi along one axis, in feature pixels: bin i has its samples j = 0 .. grid-1 at
// start + i * bin + (j + 0.5) * bin / grid.
template <typename A>
struct AxisGrid {
  A start;
  A bin;
  int grid;
  int size;  // of the feature map along this axis

  MASKRCNN_HOST_DEVICE A position(int i, int j) const {
    return start + product(A(i), bin) + product(A(j) + A(0.5), bin) / A(grid);
  }
};

template <typename A>
struct RoiGrid {
  AxisGrid<A> y;
  AxisGrid<A> x;
  int batch;
  int level;
  bool valid;  // false: the roi pools zeros and sends no gradient
};

// Feature Pyramid Networks (Lin et al. 2017), equation 1: k = floor(4 + log2(sqrt(area) / 224)), with the
// family's 1e-6 inside the logarithm, as index into the levels. Negative where the box has no area.
template <typename A>
MASKRCNN_HOST_DEVICE int level_of_box(A x1, A y1, A x2, A y2, int finest, int num_levels) {
  if (num_levels == 1) {
    return 0;
  }
  const A area = product(x2 - x1 + A(1), y2 - y1 + A(1));
  if (!(area >= A(0))) {
    return -1;
  }
  const A level = std::floor(A(4) + std::log2(std::sqrt(area) / A(224) + A(1e-6)));
  const A last = A(num_levels - 1);
  const A index = level - A(finest);
  return index <= A(0) ? 0 : index >= last ? num_levels - 1 : int(index);
}

template <typename A>
MASKRCNN_HOST_DEVICE int samples_per_bin(A bin, int sampling_ratio) {
  if (sampling_ratio > 0) {
    return sampling_ratio;
  }
  const A samples = std::ceil(bin);
  return samples >= A(kMaxGrid) ? kMaxGrid : samples >= A(1) ? int(samples) : 1;
}

// roi: batch index, x1, y1, x2, y2 in image pixels. A roi whose batch index is outside [0, N), whose
// coordinates or size are not finite, or which has no level, is not valid.
template <typename A>
MASKRCNN_HOST_DEVICE RoiGrid<A> grid_of_roi(const A* roi, const Pyramid& pyramid) {
  RoiGrid<A> out{};
  const A x1 = roi[1], y1 = roi[2], x2 = roi[3], y2 = roi[4];
  if (!(roi[0] >= A(0) && roi[0] < A(pyramid.batch))) {
    return out;
  }
  out.batch = int(roi[0]);
  // Zero for finite coordinates, NaN otherwise.
  const A finite = (x1 - x1) + (y1 - y1) + (x2 - x2) + (y2 - y2);
  if (!(finite == A(0))) {
    return out;
  }
  out.level = level_of_box(x1, y1, x2, y2, pyramid.finest, pyramid.num_levels);
  if (out.level < 0) {
    return out;
  }
  const LevelSize& level = pyramid.levels[out.level];
  const A scale = A(level.scale);
  const A start_x = product(x1, scale), start_y = product(y1, scale);
  const A width = product(x2, scale) - start_x, height = product(y2, scale) - start_y;
  const A bin_w = (width > A(1) ? width : A(1)) / A(pyramid.pooled_w);
  const A bin_h = (height > A(1) ? height : A(1)) / A(pyramid.pooled_h);
  if (!(bin_w - bin_w == A(0) && bin_h - bin_h == A(0))) {
    return out;
  }
  out.x = {start_x, bin_w, samples_per_bin(bin_w, pyramid.sampling_ratio), level.width};
  out.y = {start_y, bin_h, samples_per_bin(bin_h, pyramid.sampling_ratio), level.height};
  out.valid = level.height > 0 && level.width > 0;
  return out;
}

MASKRCNN_HOST_DEVICE int clamp_to_int(double value, int high) {
  return !(value > 0) ? 0 : value >= high ? high : int(value);
}

// The samples [first, last) of bin i that can meet the feature map; a coarse grid is not narrowed. Every
// sample is tested again by bilinear_pair, so a bound may be generous.
template <typename A>
MASKRCNN_HOST_DEVICE void sample_range(const AxisGrid<A>& axis, int i, int* first, int* last) {
  *first = 0;
  *last = axis.grid;
  if (axis.grid <= kShortGrid) {
    return;
  }
  const double per_pixel = double(axis.grid) / double(axis.bin);
  const double origin = double(axis.start) + double(i) * double(axis.bin);
  *first = clamp_to_int((-1.0 - origin) * per_pixel - 3.0, axis.grid);
  *last = clamp_to_int((double(axis.size) - origin) * per_pixel + 3.0, axis.grid);
}

// The two feature pixels around a sample and their weights; false where the sample is more than one
// pixel outside, and adds nothing.
template <typename A>
struct BilinearPair {
  int low;
  int high;
  A weight_low;
  A weight_high;
};

template <typename A>
MASKRCNN_HOST_DEVICE bool bilinear_pair(A position, int size, BilinearPair<A>* pair) {
  if (!(position >= A(-1) && position <= A(size))) {
    return false;
  }
  const A inside = position > A(0) ? position : A(0);
  const int low = int(inside);
  if (low >= size - 1) {
    *pair = {size - 1, size - 1, A(1), A(0)};
  } else {
    const A fraction = inside - A(low);
    *pair = {low, low + 1, A(1) - fraction, fraction};
  }
  return true;
}

}  // namespace maskrcnn_benchmark

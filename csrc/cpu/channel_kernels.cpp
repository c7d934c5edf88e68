#include "cpu/channel_kernels.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "simd.h"

namespace maskrcnn_benchmark::cpu {
namespace {

// Conversions without a branch, so that the loops below vectorise in every instruction set.
MASKRCNN_INLINE float widen(float value) {
  return value;
}
MASKRCNN_INLINE double widen(double value) {
  return value;
}
MASKRCNN_INLINE float widen(BFloat16 value) {
  return static_cast<float>(value);
}

// A half's exponent and mantissa, moved to a float's place, come out 2^112 too small; infinity and NaN get
// the exponent that means so.
MASKRCNN_INLINE float widen(Half value) {
  const int32_t half = value.x;
  const float magnitude = std::bit_cast<float>((half & 0x7fff) << 13) * 0x1p112f;
  const int32_t special = (half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
  const int32_t sign = static_cast<int32_t>(static_cast<uint32_t>(half & 0x8000) << 16);
  return std::bit_cast<float>(std::bit_cast<int32_t>(magnitude) | special | sign);
}

MASKRCNN_INLINE void narrow(float value, float* out) {
  *out = value;
}
MASKRCNN_INLINE void narrow(double value, double* out) {
  *out = value;
}

// Rounds to nearest even; a NaN keeps its upper half, made quiet.
MASKRCNN_INLINE void narrow(float value, BFloat16* out) {
  const int32_t bits = std::bit_cast<int32_t>(value);
  const int32_t upper = static_cast<int32_t>(static_cast<uint32_t>(bits) >> 16);
  const int32_t magnitude = bits & 0x7fffffff;
  const int32_t rounded = ((magnitude + 0x7fff + (upper & 1)) >> 16) | (upper & 0x8000);
  out->x = static_cast<uint16_t>(magnitude > 0x7f800000 ? upper | 0x40 : rounded);
}

// Rounds to nearest even, overflows to infinity; a value below 2^-14 becomes a multiple of 2^-24, which
// adding 2^23 to its 2^24-fold rounds to. The order of comparisons leaves NaN a NaN.
MASKRCNN_INLINE void narrow(float value, Half* out) {
  const int32_t bits = std::bit_cast<int32_t>(value);
  const int32_t magnitude = bits & 0x7fffffff;
  const int32_t normal = ((magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13) - (112 << 10);
  const float shifted = std::bit_cast<float>(magnitude) * 0x1p24f + 0x1p23f;
  const int32_t small = std::bit_cast<int32_t>(shifted) & 0x7ff;
  int32_t half = magnitude < 0x38800000 ? small : normal;
  half = magnitude >= 0x477ff000 ? 0x7c00 : half;
  half = magnitude > 0x7f800000 ? 0x7e00 : half;
  out->x = static_cast<uint16_t>(half | (static_cast<uint32_t>(bits) >> 16 & 0x8000));
}

// Eight pixels at a time: their eight products share one pass over the sums.
constexpr int kGroup = 8;

template <bool kFirst, int kCount, typename T, typename A>
MASKRCNN_INLINE void sum_group(const T* const* pixels, const A* weights, int64_t channels,
                               A* __restrict out) {
  const T* p[kCount];
  A w[kCount];
  for (int t = 0; t < kCount; ++t) {
    p[t] = pixels[t];
    w[t] = weights[t];
  }
  for (int64_t c = 0; c < channels; ++c) {
    A sum = kFirst ? A(0) : out[c];
    for (int t = 0; t < kCount; ++t) {
      sum += w[t] * widen(p[t][c]);
    }
    out[c] = sum;
  }
}

template <int kCount, typename T, typename A>
MASKRCNN_INLINE void sum_rest(const T* const* pixels, const A* weights, int count, bool first,
                              int64_t channels, A* out) {
  if constexpr (kCount > 0) {
    if (count != kCount) {
      sum_rest<kCount - 1>(pixels, weights, count, first, channels, out);
    } else if (first) {
      sum_group<true, kCount>(pixels, weights, channels, out);
    } else {
      sum_group<false, kCount>(pixels, weights, channels, out);
    }
  }
}

template <typename T, typename A>
MASKRCNN_INLINE void sum_pixels_impl(const T* const* pixels, const A* weights, int count, int64_t channels,
                                     A* out) {
  if (count == 0) {
    std::fill_n(out, channels, A(0));
  }
  int done = 0;
  for (; done + kGroup <= count; done += kGroup) {
    sum_rest<kGroup>(pixels + done, weights + done, kGroup, done == 0, channels, out);
  }
  sum_rest<kGroup - 1>(pixels + done, weights + done, count - done, done == 0, channels, out);
}

template <typename T, typename A>
MASKRCNN_INLINE void add_pixel_impl(const T* __restrict values, A weight, int64_t channels,
                                    A* __restrict sums) {
  for (int64_t c = 0; c < channels; ++c) {
    sums[c] += weight * widen(values[c]);
  }
}

template <typename T, typename A>
MASKRCNN_INLINE void round_values_impl(const A* __restrict values, int64_t count, T* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    narrow(values[i], out + i);
  }
}

template <typename From, typename To>
MASKRCNN_INLINE void transpose_plainly(const From* __restrict from, int64_t from_stride, int64_t rows,
                                       int64_t columns, int64_t to_stride, To* __restrict to) {
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) {
      if constexpr (std::is_same_v<From, To>) {
        to[j * to_stride + i] = from[i * from_stride + j];
      } else {
        narrow(from[i * from_stride + j], to + j * to_stride + i);
      }
    }
  }
}

// to[j * to_stride + i] = from[i * from_stride + j]: i = 0 .. rows-1, j = 0 .. columns-1.
template <typename From, typename To>
MASKRCNN_INLINE void transpose(const From* from, int64_t from_stride, int64_t rows, int64_t columns,
                               int64_t to_stride, To* to) {
  int64_t done = 0;
#if defined(__SSE__)
  if constexpr (std::is_same_v<From, float> && std::is_same_v<To, float>) {
    const int64_t whole = columns - columns % 4;
    for (; done + 4 <= rows; done += 4) {
      const float* source = from + done * from_stride;
      for (int64_t j = 0; j < whole; j += 4) {
        __m128 a = _mm_loadu_ps(source + j), b = _mm_loadu_ps(source + from_stride + j);
        __m128 c = _mm_loadu_ps(source + 2 * from_stride + j), d = _mm_loadu_ps(source + 3 * from_stride + j);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        float* target = to + j * to_stride + done;
        _mm_storeu_ps(target, a);
        _mm_storeu_ps(target + to_stride, b);
        _mm_storeu_ps(target + 2 * to_stride, c);
        _mm_storeu_ps(target + 3 * to_stride, d);
      }
      transpose_plainly(source + whole, from_stride, 4, columns - whole, to_stride,
                        to + whole * to_stride + done);
    }
  }
#endif
  transpose_plainly(from + done * from_stride, from_stride, rows - done, columns, to_stride, to + done);
}

// In blocks of this many channels, so that both sides stay in the first cache.
constexpr int64_t kBlock = 16;

template <typename T, typename A>
MASKRCNN_INLINE void rows_to_planes_impl(const A* rows, int64_t row_stride, int64_t pixels, int64_t channels,
                                         int64_t out_stride, T* out) {
  for (int64_t c = 0; c < channels; c += kBlock) {
    transpose(rows + c, row_stride, pixels, std::min(kBlock, channels - c), out_stride, out + c * out_stride);
  }
}

// The processor does not foresee reads of a few pixels here and there in many planes.
template <typename T>
MASKRCNN_INLINE void fetch_ahead(const T* planes, int64_t plane_stride, int64_t pixels, int64_t channels) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < pixels; i += kLine) {
      __builtin_prefetch(planes + c * plane_stride + i);
    }
  }
}

template <typename T>
MASKRCNN_INLINE void planes_to_rows_impl(const T* planes, int64_t plane_stride, int64_t pixels,
                                         int64_t channels, int64_t row_stride, T* rows) {
  for (int64_t c = 0; c < channels; c += kBlock) {
    const int64_t next = c + kBlock;
    fetch_ahead(planes + next * plane_stride, plane_stride, pixels, std::min(kBlock, channels - next));
    transpose(planes + c * plane_stride, plane_stride, std::min(kBlock, channels - c), pixels, row_stride,
              rows + c);
  }
}

}  // namespace

#define MASKRCNN_CHANNEL_KERNELS(T, A)                                                             \
  MASKRCNN_MULTIVERSION void sum_pixels(const T* const* pixels, const A* weights, int count,       \
                                        int64_t channels, A* out) {                                \
    sum_pixels_impl(pixels, weights, count, channels, out);                                        \
  }                                                                                                \
  MASKRCNN_MULTIVERSION void add_pixel(const T* values, A weight, int64_t channels, A* sums) {     \
    add_pixel_impl(values, weight, channels, sums);                                                \
  }                                                                                                \
  MASKRCNN_MULTIVERSION void round_values(const A* values, int64_t count, T* out) {                \
    round_values_impl(values, count, out);                                                         \
  }                                                                                                \
  MASKRCNN_MULTIVERSION void rows_to_planes(const A* rows, int64_t row_stride, int64_t pixels,     \
                                            int64_t channels, int64_t out_stride, T* out) {        \
    rows_to_planes_impl(rows, row_stride, pixels, channels, out_stride, out);                      \
  }                                                                                                \
  MASKRCNN_MULTIVERSION void planes_to_rows(const T* planes, int64_t plane_stride, int64_t pixels, \
                                            int64_t channels, int64_t row_stride, T* rows) {       \
    planes_to_rows_impl(planes, plane_stride, pixels, channels, row_stride, rows);                 \
  }

MASKRCNN_CHANNEL_KERNELS(float, float)
MASKRCNN_CHANNEL_KERNELS(double, double)
MASKRCNN_CHANNEL_KERNELS(BFloat16, float)
MASKRCNN_CHANNEL_KERNELS(Half, float)

}  // namespace maskrcnn_benchmark::cpu

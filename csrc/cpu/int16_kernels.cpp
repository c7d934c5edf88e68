// Loops of conv_kernels.h that multiply 16-bit integers, two channels in an instruction (AVX-512 VNNI): twice
// the products a second of float32.
//
// Block floating point: 256 channels of a row of V have one scale, and so have 256 channels of an output
// channel of U. A value keeps 13 bits beside its sign, relative to the largest of its 256; bfloat16 keeps 8,
// relative to itself. A weight keeps what the bound on the sums leaves, in the mean about 10 bits. Sums over
// 256 channels are exact integers; over more channels they are sums in float32.

#include "cpu/conv_kernels.h"
#include "simd.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>

namespace maskrcnn_benchmark::cpu {
namespace {

constexpr int kLanes = 16;
constexpr int kRows = kAvx512Rows;  // as in float32, whose transforms these loops share
constexpr int kColumns = kAvx512Columns;
constexpr int kVecs = kColumns / kLanes;
constexpr int kGroup = 256;  // channels with one scale
constexpr int kPairs = kChannelBlock / 2;
constexpr int kScaleSize = 16;  // floats for the scales of a block's rows, in whole cache lines

// No sum leaves int32: 8191 * 262143 < 2^31, and 262143 is what the weights of a group can come to, where
// rounding adds 1/2 to each of 256 and a little to their sum in float32.
constexpr float kMostValue = 8191;
constexpr float kMostWeights = 262143 - 256 / 2 - 32;
constexpr float kMostWeight = 32767;

constexpr float kTiny = 1e-30f;  // less than this counts as 0: its reciprocal would be no float

int64_t groups(int64_t channels) {
  return (channels + kGroup - 1) / kGroup;
}

// A block: for each group the scales of the rows, then [channel block][row][16 channels] of 16-bit integers.
int64_t block_size(int64_t channels) {
  return groups(channels) * kScaleSize + kRows * channels / 2;
}

// A panel: for each group the scales of the columns, then [pair of channels][column][2] of 16-bit integers.
int64_t panel_size(int64_t channels) {
  return groups(channels) * kColumns + kColumns * channels / 2;
}

// One group of a panel. A column with a value that is not finite gets a scale that is none.
void pack_group(const float* u, int64_t channels, float* out) {
  auto* weights = reinterpret_cast<int16_t*>(out + kColumns);
  for (int k = 0; k < kColumns; ++k) {
    float sum = 0, most = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const float size = __builtin_fabsf(u[c * kColumns + k]);
      sum += size;
      most = size > most ? size : most;
    }
    const float scale = most / kMostWeight > sum / kMostWeights ? most / kMostWeight : sum / kMostWeights;
    const bool is_finite = sum <= __FLT_MAX__;
    const float factor = is_finite && sum > kTiny ? 1 / scale : 0;
    out[k] = is_finite ? (sum > kTiny ? scale : 0) : __builtin_nanf("");
    for (int64_t c = 0; c < channels; ++c) {
      const float value = is_finite ? u[c * kColumns + k] * factor : 0;
      weights[(c / 2 * kColumns + k) * 2 + c % 2] = static_cast<int16_t>(__builtin_lrintf(value));
    }
  }
}

void pack_panel(const float* u, int64_t channels, float* out) {
  for (int64_t first = 0; first < channels; first += kGroup) {
    const int64_t count = channels - first < kGroup ? channels - first : kGroup;
    pack_group(u + first * kColumns, count, out);
    out += panel_size(count);
  }
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vnni")
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 finds it in its own header

namespace maskrcnn_benchmark::cpu {
namespace {

// One row of a group. A row with a value that is not finite gets a scale that is none.
MASKRCNN_INLINE float pack_row(const float* row, int64_t block_stride, int64_t channels, int16_t* out) {
  const __m512i no_sign = _mm512_set1_epi32(0x7fffffff);
  __m512i most = _mm512_setzero_si512();  // as integers: infinity and NaN are the largest
  const float* from = row;
  for (int64_t c = 0; c < channels; c += kLanes, from += block_stride) {
    const __m512i bits = _mm512_castps_si512(_mm512_loadu_ps(from));
    most = _mm512_max_epi32(most, _mm512_and_si512(bits, no_sign));
  }
  const int largest_bits = _mm512_reduce_max_epi32(most);
  float largest;
  __builtin_memcpy(&largest, &largest_bits, sizeof largest);
  const bool is_finite = largest <= __FLT_MAX__, is_zero = largest < kTiny;
  const __m512 factor = _mm512_set1_ps(is_finite && !is_zero ? kMostValue / largest : 0);
  for (int64_t c = 0; c < channels; c += kLanes, row += block_stride) {
    const __m512i value = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(row), factor));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + c * kRows), _mm512_cvtepi32_epi16(value));
  }
  return is_finite ? (is_zero ? 0 : largest / kMostValue) : __builtin_nanf("");
}

void pack_rows(const float* const* rows, int64_t block_stride, int64_t channels, int64_t count, float* out) {
  for (int64_t first = 0; first < channels; first += kGroup) {
    const int64_t width = channels - first < kGroup ? channels - first : kGroup;
    auto* values = reinterpret_cast<int16_t*>(out + kScaleSize);
    for (int64_t t = 0; t < count; ++t) {
      const float* row = rows[t] + first / kChannelBlock * block_stride;
      out[t] = pack_row(row, block_stride, width, values + t * kLanes);
    }
    out += block_size(width);
  }
}

using Ints = int __attribute__((vector_size(64)));

// out (+)= the sums over one group's channels, times the scales.
template <int kCount, bool kAdd>
MASKRCNN_INLINE void multiply_group(const float* v, const float* u, int64_t channels, int64_t out_stride,
                                    float* out) {
  const auto* values = reinterpret_cast<const int*>(v + kScaleSize);
  const float* weights = u + kColumns;
  __m512i sums[kCount][kVecs];
#pragma GCC unroll 16
  for (int t = 0; t < kCount; ++t) {
    for (int k = 0; k < kVecs; ++k) {
      sums[t][k] = _mm512_setzero_si512();
    }
  }
  for (int64_t block = 0; block < channels; block += kChannelBlock, values += kPairs * kRows) {
    for (int c = 0; c < kPairs; ++c, weights += kColumns) {
      for (int k = 0; k < kColumns; k += 16) {
        __builtin_prefetch(weights + 16 * kColumns + k);
      }
      __builtin_prefetch(values + (2 * kRows + c) * kPairs);
      const __m512i left = _mm512_loadu_si512(weights), right = _mm512_loadu_si512(weights + kLanes);
#pragma GCC unroll 16
      for (int t = 0; t < kCount; ++t) {
        const __m512i value = _mm512_set1_epi32(values[t * kPairs + c]);
        // The compiler's own intrinsic makes it copy the sums.
        asm("vpdpwssd %2, %1, %0" : "+v"(sums[t][0]) : "v"(value), "v"(left));
        asm("vpdpwssd %2, %1, %0" : "+v"(sums[t][1]) : "v"(value), "v"(right));
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kCount; ++t) {
    for (int k = 0; k < kVecs; ++k) {
      float* target = out + t * out_stride + k * kLanes;
      const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(v[t]), _mm512_loadu_ps(u + k * kLanes));
      const __m512 before = kAdd ? _mm512_loadu_ps(target) : _mm512_setzero_ps();
      const __m512 sum = __builtin_convertvector(reinterpret_cast<Ints>(sums[t][k]), __m512);
      _mm512_storeu_ps(target, _mm512_fmadd_ps(sum, scale, before));
    }
  }
}

template <int kCount>
void multiply_rows(const float* v, const float* u, int64_t channels, bool add, int64_t out_stride,
                   float* out) {
  for (int64_t first = 0; first < channels; first += kGroup) {
    const int64_t count = channels - first < kGroup ? channels - first : kGroup;
    if (add || first > 0) {
      multiply_group<kCount, true>(v, u, count, out_stride, out);
    } else {
      multiply_group<kCount, false>(v, u, count, out_stride, out);
    }
    v += block_size(count);
    u += panel_size(count);
  }
}

template <int kCount = kRows>
void multiply(const float* v, const float* u, int64_t channels, int64_t count, bool add, int64_t out_stride,
              float* out) {
  if constexpr (kCount > 0) {
    if (count == kCount) {
      multiply_rows<kCount>(v, u, channels, add, out_stride, out);
    } else {
      multiply<kCount - 1>(v, u, channels, count, add, out_stride, out);
    }
  }
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

#pragma GCC diagnostic pop
#pragma GCC pop_options

namespace maskrcnn_benchmark::cpu {
const ConvKernels* int16_kernels_vnni() {
  static const ConvKernels kernels = [] {
    ConvKernels made = *conv_kernels_avx512();  // what surrounds the product is the same
    made.group = kGroup;
    made.block_size = block_size;
    made.panel_size = panel_size;
    made.pack_rows = pack_rows;
    made.pack_panel = pack_panel;
    made.multiply = multiply<>;
    return made;
  }();
  return &kernels;
}
}  // namespace maskrcnn_benchmark::cpu

#else
namespace maskrcnn_benchmark::cpu {
const ConvKernels* int16_kernels_vnni() {
  return nullptr;
}
}  // namespace maskrcnn_benchmark::cpu
#endif

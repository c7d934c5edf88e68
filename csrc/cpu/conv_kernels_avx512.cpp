#include "cpu/conv_kernels.h"
#include "simd.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f")

namespace maskrcnn_benchmark::cpu {
namespace {

using Vec = __m512;
constexpr int kLanes = 16;
constexpr int kRows = kAvx512Rows;

MASKRCNN_INLINE Vec load(const float* from) {
  return _mm512_loadu_ps(from);
}
MASKRCNN_INLINE void store(float* to, Vec value) {
  _mm512_storeu_ps(to, value);
}
MASKRCNN_INLINE Vec broadcast(float value) {
  return _mm512_set1_ps(value);
}
MASKRCNN_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
  return _mm512_fmadd_ps(a, b, c);
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

#include "cpu/conv_kernels_impl.h"

#pragma GCC pop_options

static_assert(maskrcnn_benchmark::cpu::kColumns == maskrcnn_benchmark::cpu::kAvx512Columns);

namespace maskrcnn_benchmark::cpu {
const ConvKernels* conv_kernels_avx512() {
  return &kKernels;
}
}  // namespace maskrcnn_benchmark::cpu

#else
namespace maskrcnn_benchmark::cpu {
const ConvKernels* conv_kernels_avx512() {
  return nullptr;
}
}  // namespace maskrcnn_benchmark::cpu
#endif

#include "cpu/conv_kernels.h"
#include "simd.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma")

namespace maskrcnn_benchmark::cpu {
namespace {

using Vec = __m256;
constexpr int kLanes = 8;
// 6 tiles x 2 vectors of sums, 2 of filters and the broadcast value: 15 of the 16 registers.
constexpr int kRows = 6;

MASKRCNN_INLINE Vec load(const float* from) {
  return _mm256_loadu_ps(from);
}
MASKRCNN_INLINE void store(float* to, Vec value) {
  _mm256_storeu_ps(to, value);
}
MASKRCNN_INLINE Vec broadcast(float value) {
  return _mm256_set1_ps(value);
}
MASKRCNN_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
  return _mm256_fmadd_ps(a, b, c);
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

#include "cpu/conv_kernels_impl.h"

#pragma GCC pop_options

namespace maskrcnn_benchmark::cpu {
const ConvKernels* conv_kernels_avx2() {
  return &kKernels;
}
}  // namespace maskrcnn_benchmark::cpu

#else
namespace maskrcnn_benchmark::cpu {
const ConvKernels* conv_kernels_avx2() {
  return nullptr;
}
}  // namespace maskrcnn_benchmark::cpu
#endif

#include "cpu/conv_kernels.h"

#include <cstdlib>
#include <cstring>

namespace maskrcnn_benchmark::cpu {
namespace {

// Whether ATEN_CPU_CAPABILITY lets this set of instructions be used.
bool is_allowed(const char* name) {
  const char* set = std::getenv("ATEN_CPU_CAPABILITY");
  return set == nullptr || std::strcmp(set, name) == 0;
}

const ConvKernels* choose_kernels() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (conv_kernels_avx512() != nullptr && __builtin_cpu_supports("avx512f") && is_allowed("avx512")) {
    return conv_kernels_avx512();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      (is_allowed("avx2") || is_allowed("avx512"))) {
    return conv_kernels_avx2();
  }
#endif
  return nullptr;
}

const ConvKernels* choose_int16_kernels() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (int16_kernels_vnni() != nullptr && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512vnni") && is_allowed("avx512")) {
    return int16_kernels_vnni();
  }
#endif
  return nullptr;
}

}  // namespace

const ConvKernels* conv_kernels() {
  static const ConvKernels* const chosen = choose_kernels();
  return chosen;
}

const ConvKernels* int16_kernels() {
  static const ConvKernels* const chosen = choose_int16_kernels();
  return chosen;
}

}  // namespace maskrcnn_benchmark::cpu

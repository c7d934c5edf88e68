#include "cpu/conv_kernels.h"

#include <cstdlib>
#include <cstring>

namespace maskrcnn_benchmark::cpu {
namespace {

const ConvKernels* choose_kernels() {
#if defined(__x86_64__) && defined(__GNUC__)
  const char* set = std::getenv("ATEN_CPU_CAPABILITY");
  const auto allowed = [set](const char* name) { return set == nullptr || std::strcmp(set, name) == 0; };
  if (conv_kernels_avx512() != nullptr && __builtin_cpu_supports("avx512f") && allowed("avx512")) {
    return conv_kernels_avx512();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      (allowed("avx2") || allowed("avx512"))) {
    return conv_kernels_avx2();
  }
#endif
  return nullptr;
}

}  // namespace

const ConvKernels* conv_kernels() {
  static const ConvKernels* const chosen = choose_kernels();
  return chosen;
}

}  // namespace maskrcnn_benchmark::cpu

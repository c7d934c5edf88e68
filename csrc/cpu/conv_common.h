#pragma once

// What the convolutions of this folder have in common around their loops (conv_kernels.h).

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "checks.h"
#include "cpu/conv_kernels.h"

namespace maskrcnn_benchmark::cpu {

using torch::stable::Tensor;

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Memory for floats in whole cache lines.
struct FreeFloats {
  void operator()(float* memory) const { std::free(memory); }
};
using Floats = std::unique_ptr<float[], FreeFloats>;

inline Floats allocate_floats(int64_t count) {
  void* memory = std::aligned_alloc(64, static_cast<size_t>(ceil_div(count, 16) * 64));
  STD_TORCH_CHECK(memory != nullptr, "no memory for ", count, " floats of a convolution");
  return Floats(static_cast<float*>(memory));
}

// Rows of V that a thread takes at once: about `most`, in whole blocks; fewer where the threads would
// otherwise lack work.
inline int64_t rows_per_task(int64_t rows, int64_t most, const ConvKernels& kernels) {
  const int64_t tasks = std::max<int64_t>(torch::stable::get_num_threads(), ceil_div(rows, most));
  return ceil_div(ceil_div(rows, tasks), kernels.rows) * kernels.rows;
}

// The loops that multiply in float32, or 16-bit integers.
inline const ConvKernels& checked_kernels(const char* op, bool int16) {
  STD_TORCH_CHECK(conv_kernels() != nullptr, op, ": this processor has neither AVX2 nor AVX-512");
  STD_TORCH_CHECK(!int16 || int16_kernels() != nullptr, op, ": this processor has no AVX-512 VNNI");
  return int16 ? *int16_kernels() : *conv_kernels();
}

// Memory of a packed weight [panels, ...]: float32, or words of 32 bits that hold 16-bit integers and scales.
inline Tensor new_packed_weight(const Tensor& weight, bool int16, const std::vector<int64_t>& shape) {
  using torch::headeronly::ScalarType;
  return torch::stable::new_zeros(weight, shape, int16 ? ScalarType::Int : ScalarType::Float);
}

inline float* packed_data(const Tensor& packed) {
  return static_cast<float*>(packed.mutable_data_ptr());
}

inline bool is_int16(const Tensor& packed) {
  return packed.scalar_type() == torch::headeronly::ScalarType::Int;
}

// The loops that a packed weight [panels, `positions`, panel] was made for.
inline const ConvKernels& kernels_of(const char* op, const Tensor& packed, int64_t positions,
                                     int64_t channels, int64_t outputs) {
  const ConvKernels& kernels = checked_kernels(op, is_int16(packed));
  STD_TORCH_CHECK(is_int16(packed) || packed.scalar_type() == torch::headeronly::ScalarType::Float, op,
                  ": weight must be packed, got ", dtype_of(packed));
  STD_TORCH_CHECK(packed.dim() == 3 && packed.is_contiguous() &&
                      packed.size(0) == ceil_div(outputs, kernels.columns) && packed.size(1) == positions &&
                      packed.size(2) == kernels.panel_size(channels),
                  op, ": weight must be packed from one of ", outputs, " outputs and ", channels,
                  " channels, got ", shape_of(packed));
  return kernels;
}

inline void check_float(const char* op, const char* name, const Tensor& tensor) {
  STD_TORCH_CHECK(tensor.scalar_type() == torch::headeronly::ScalarType::Float, op, ": ", name,
                  " must be float32, got ", dtype_of(tensor));
}

inline void check_channels(const char* op, int64_t channels, int64_t outputs) {
  STD_TORCH_CHECK(
      outputs > 0 && outputs % kChannelBlock == 0 && channels > 0 && channels % kChannelBlock == 0, op,
      ": channels must be multiples of ", kChannelBlock, ", got ", channels, " in and ", outputs, " out");
}

// The bias as an array of its own; zeros where there is none.
inline std::vector<float> bias_values(const char* op, const std::optional<Tensor>& bias, int64_t outputs) {
  std::vector<float> values(outputs, 0.0f);
  if (bias.has_value()) {
    check_float(op, "bias", *bias);
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == outputs, op, ": bias must have the shape [", outputs,
                    "], got ", shape_of(*bias));
    const Tensor packed = torch::stable::contiguous(*bias);
    std::copy_n(packed.const_data_ptr<float>(), outputs, values.begin());
  }
  return values;
}

}  // namespace maskrcnn_benchmark::cpu

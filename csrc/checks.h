#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <sstream>
#include <string>

namespace maskrcnn_benchmark {

// "[2, 3, 4]": the shape of a tensor for an error message.
inline std::string shape_of(const torch::stable::Tensor& tensor) {
  std::ostringstream text;
  text << '[';
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    text << (i ? ", " : "") << tensor.size(i);
  }
  text << ']';
  return text.str();
}

// Name of a floating dtype for an error message; others by their number.
inline std::string dtype_of(const torch::stable::Tensor& tensor) {
  using torch::headeronly::ScalarType;
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Bool:
      return "bool";
    case ScalarType::Byte:
      return "uint8";
    default:
      return "dtype number " + std::to_string(static_cast<int>(tensor.scalar_type()));
  }
}

inline void check_same_device(const char* op, const char* name, const torch::stable::Tensor& tensor,
                              const char* other_name, const torch::stable::Tensor& other) {
  STD_TORCH_CHECK(tensor.is_cuda() == other.is_cuda() &&
                      (!tensor.is_cuda() || tensor.get_device_index() == other.get_device_index()),
                  op, ": ", name, " and ", other_name, " must be on one device");
}

}  // namespace maskrcnn_benchmark

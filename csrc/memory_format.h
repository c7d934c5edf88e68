#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace maskrcnn_benchmark {

using torch::headeronly::MemoryFormat;
using torch::stable::Tensor;

// Are the channels of a pixel neighbours in memory, without gaps?
inline bool is_channels_last(const Tensor& tensor) {
  int64_t expected = 1;
  for (int64_t axis : {1, 3, 2, 0}) {
    if (tensor.size(axis) != 1 && tensor.stride(axis) != expected) {
      return false;
    }
    expected *= tensor.size(axis);
  }
  return true;
}

inline MemoryFormat memory_format(bool channels_last) {
  return channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

inline Tensor empty_as(const Tensor& like, const std::vector<int64_t>& shape, bool channels_last) {
  return torch::stable::empty(shape, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                              memory_format(channels_last));
}

}  // namespace maskrcnn_benchmark

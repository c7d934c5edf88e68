// A 1x1 convolution in float32 on the CPU over maps that are taken as concatenated along the channels: a
// matrix product over the pixels. Maps are channels_last.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "cpu/conv_common.h"
#include "cpu/parallel.h"
#include "memory_format.h"

namespace maskrcnn_benchmark::cpu {
namespace {

// Pixels that a thread works on at once: more use the weight more often, fewer stay in the second cache.
constexpr int64_t kPixelsPerTask = 56;
// Output channels whose sums a thread holds at once.
constexpr int64_t kChannelsPerPass = 64;

Tensor pointwise_weight(const Tensor& weight) {
  const char* op = "pointwise_weight";
  const int64_t columns = checked_kernels(op).columns;
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 1 && weight.size(3) == 1, op,
                  ": weight must have the shape [K, C, 1, 1], got ", shape_of(weight));
  check_float(op, "weight", weight);
  const int64_t outputs = weight.size(0), channels = weight.size(1);
  check_channels(op, channels, outputs);
  Tensor packed = torch::stable::new_zeros(weight, {ceil_div(outputs, columns), channels, columns});
  const Tensor rows = torch::stable::contiguous(weight);
  const float* from = rows.const_data_ptr<float>();
  float* to = packed.mutable_data_ptr<float>();
  for (int64_t k = 0; k < outputs; ++k) {
    for (int64_t c = 0; c < channels; ++c) {
      to[(k / columns * channels + c) * columns + k % columns] = from[k * channels + c];
    }
  }
  return packed;
}

struct Part {
  const float* data;  // [pixels, channels]
  int64_t channels;
};

// What one thread computes with.
struct Scratch {
  Floats values;  // V: pixels of all parts
  Floats sums;    // of these pixels, for the channels of a pass
};

struct Convolution {
  const ConvKernels& kernel;
  std::vector<Part> parts;
  const float* weight;  // [panels, channels, columns]
  const float* bias;    // [outputs]
  float* out;           // [pixels, outputs]
  int64_t pixels, channels, outputs;
  bool relu;

  // V of the pixels from `first` on.
  void read_pixels(int64_t first, int64_t count, float* values) const {
    for (int64_t i = 0; i < count; ++i) {
      float* to = values + i / kernel.rows * kernel.rows * channels + i % kernel.rows * kChannelBlock;
      for (const Part& part : parts) {
        const float* from = part.data + (first + i) * part.channels;
        for (int64_t c = 0; c < part.channels; c += kChannelBlock, to += kernel.rows * kChannelBlock) {
          std::memcpy(to, from + c, kChannelBlock * sizeof(float));
        }
      }
    }
  }

  // The sums of `count` pixels and the output channels from `from` to `to`.
  void multiply_pixels(const float* values, int64_t count, int64_t from, int64_t to, float* sums) const {
    for (int64_t k = from; k < to; k += kernel.columns) {
      for (int64_t i = 0; i < count; i += kernel.rows) {
        kernel.multiply(values + i * channels, weight + k * channels, channels,
                        std::min<int64_t>(kernel.rows, count - i), kChannelsPerPass,
                        sums + i * kChannelsPerPass + k - from);
      }
    }
  }

  void run() const {
    const int64_t step = rows_per_task(pixels, kPixelsPerTask, kernel);
    parallel_tasks<Scratch>(ceil_div(pixels, step), [&](int64_t task, Scratch& scratch) {
      if (scratch.values == nullptr) {
        scratch.values = allocate_floats(step * channels);
        scratch.sums = allocate_floats(step * kChannelsPerPass);
      }
      const int64_t first = task * step, count = std::min(step, pixels - first);
      read_pixels(first, count, scratch.values.get());
      for (int64_t from = 0; from < outputs; from += kChannelsPerPass) {
        const int64_t to = std::min(from + kChannelsPerPass, outputs);
        multiply_pixels(scratch.values.get(), count, from, to, scratch.sums.get());
        kernel.finish(scratch.sums.get(), kChannelsPerPass, count, to - from, bias + from, relu,
                      out + first * outputs + from, outputs);
      }
    });
  }
};

Tensor pointwise_conv2d(const std::vector<Tensor>& parts, const Tensor& weight,
                        const std::optional<Tensor>& bias, int64_t out_channels, bool relu) {
  const char* op = "pointwise_conv2d";
  const ConvKernels& kernels = checked_kernels(op);
  STD_TORCH_CHECK(!parts.empty(), op, ": parts must not be empty");
  STD_TORCH_CHECK(parts[0].dim() == 4, op, ": parts must have the shape [N, C, H, W], got ",
                  shape_of(parts[0]));
  const int64_t batch = parts[0].size(0), height = parts[0].size(2), width = parts[0].size(3);
  std::vector<Part> sources;
  int64_t channels = 0;
  for (const Tensor& part : parts) {
    check_float(op, "a part", part);
    STD_TORCH_CHECK(part.dim() == 4 && part.size(0) == batch && part.size(1) % kChannelBlock == 0 &&
                        part.size(2) == height && part.size(3) == width && is_channels_last(part),
                    op, ": parts must be channels_last, of one size and with a multiple of ", kChannelBlock,
                    " channels, got ", shape_of(parts[0]), " and ", shape_of(part));
    sources.push_back({part.const_data_ptr<float>(), part.size(1)});
    channels += part.size(1);
  }
  check_channels(op, channels, out_channels);
  check_float(op, "weight", weight);
  STD_TORCH_CHECK(weight.dim() == 3 && weight.is_contiguous() && weight.size(1) == channels &&
                      weight.size(2) == kernels.columns &&
                      weight.size(0) == ceil_div(out_channels, kernels.columns),
                  op, ": weight must be pointwise_weight's result for [", out_channels, ", ", channels,
                  ", 1, 1], got ", shape_of(weight));
  const std::vector<float> shift = bias_values(op, bias, out_channels);
  Tensor out = empty_as(parts[0], {batch, out_channels, height, width}, /*channels_last=*/true);
  const Convolution convolution{.kernel = kernels,
                                .parts = std::move(sources),
                                .weight = weight.const_data_ptr<float>(),
                                .bias = shift.data(),
                                .out = out.mutable_data_ptr<float>(),
                                .pixels = batch * height * width,
                                .channels = channels,
                                .outputs = out_channels,
                                .relu = relu};
  if (convolution.pixels > 0) {
    convolution.run();
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("pointwise_weight", TORCH_BOX(&pointwise_weight));
  m.impl("pointwise_conv2d", TORCH_BOX(&pointwise_conv2d));
}

}  // namespace maskrcnn_benchmark::cpu

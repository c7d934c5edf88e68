// A 3x3 convolution of stride 1 and padding 1 of float32 maps on the CPU, by Winograd's minimal filtering
// (see conv_kernels.h): about two and a half times as fast as the direct convolution. Maps are channels_last.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "cpu/conv_common.h"
#include "cpu/parallel.h"
#include "memory_format.h"

namespace maskrcnn_benchmark::cpu {
namespace {

// Tiles that a thread works on at once: few stay in the second cache; more use a filter more often, which
// pays where the filters do not stay in the third.
constexpr int64_t kTilesPerTask = 14;
constexpr int64_t kTilesPerTaskOfMany = 56;
constexpr int64_t kManyFilters = 512 * 256;  // pairs of channels: 18 MiB of filters
// Output channels whose products a thread holds at once.
constexpr int64_t kChannelsPerPass = 64;

// V and M of the next position lie one cache line further than they need to. At a multiple of 4096 bytes all
// 36 would want the same few places of the first cache.
constexpr int64_t kLine = 16;

// What one thread computes with.
struct Scratch {
  Floats values;    // V
  Floats packed;    // V as the loops multiply it
  Floats products;  // M
};

// One convolution: its maps are [N, H, W, C] and [N, H, W, K] in memory.
struct Convolution {
  const ConvKernels& kernel;
  const float* in;
  const float* weight;  // [panels, 36, panel]
  const float* bias;    // [K]
  const float* zeros;   // [C], the pixels around the image
  float* out;
  int64_t batch, height, width, channels, outputs;
  bool relu;

  int64_t tile_rows() const { return ceil_div(height, kOutputTile); }
  int64_t tile_columns() const { return ceil_div(width, kOutputTile); }
  int64_t tiles() const { return batch * tile_rows() * tile_columns(); }

  struct Corner {
    int64_t image, y, x;  // of the tile's first output pixel
  };

  Corner corner(int64_t tile) const {
    const int64_t image = tile / (tile_rows() * tile_columns()), rest = tile % (tile_rows() * tile_columns());
    return {image, rest / tile_columns() * kOutputTile, rest % tile_columns() * kOutputTile};
  }

  // V of the tiles from `first` on.
  void read_tiles(int64_t first, int64_t count, int64_t position_stride, float* values) const {
    const float* pixels[kPositions];
    for (int64_t t = 0; t < count; ++t) {
      const Corner at = corner(first + t);
      for (int p = 0; p < kPositions; ++p) {
        const int64_t y = at.y + p / kInputTile - 1, x = at.x + p % kInputTile - 1;
        const bool inside = y >= 0 && y < height && x >= 0 && x < width;
        pixels[p] = inside ? in + ((at.image * height + y) * width + x) * channels : zeros;
      }
      float* block = values + t / kernel.rows * kernel.rows * channels;
      kernel.transform_input(pixels, channels, position_stride, block + t % kernel.rows * kChannelBlock);
    }
  }

  void pack_tiles(const float* values, int64_t value_stride, int64_t count, float* packed,
                  int64_t packed_stride) const {
    std::vector<const float*> rows(kernel.rows);
    for (int64_t p = 0; p < kPositions; ++p) {
      for (int64_t t = 0; t < count; t += kernel.rows) {
        const int64_t height = std::min<int64_t>(kernel.rows, count - t);
        for (int64_t i = 0; i < height; ++i) {
          rows[i] = values + p * value_stride + t * channels + i * kChannelBlock;
        }
        kernel.pack_rows(rows.data(), kernel.rows * kChannelBlock, channels, height,
                         packed + p * packed_stride + t / kernel.rows * kernel.block_size(channels));
      }
    }
  }

  // M of `count` tiles and the output channels from `from` to `to`.
  void multiply_tiles(const float* values, int64_t value_stride, int64_t count, int64_t from, int64_t to,
                      float* products, int64_t product_stride) const {
    const int64_t panel_size = kernel.panel_size(channels), block_size = kernel.block_size(channels);
    for (int64_t p = 0; p < kPositions; ++p) {
      for (int64_t k = from; k < to; k += kernel.columns) {
        const float* panel = weight + (k / kernel.columns * kPositions + p) * panel_size;
        for (int64_t t = 0; t < count; t += kernel.rows) {
          kernel.multiply(values + p * value_stride + t / kernel.rows * block_size, panel, channels,
                          std::min<int64_t>(kernel.rows, count - t), /*add=*/false, kChannelsPerPass,
                          products + p * product_stride + t * kChannelsPerPass + k - from);
        }
      }
    }
  }

  void write_tiles(const float* products, int64_t product_stride, int64_t first, int64_t count, int64_t from,
                   int64_t to) const {
    for (int64_t t = 0; t < count; ++t) {
      const Corner at = corner(first + t);
      kernel.transform_output(products + t * kChannelsPerPass, product_stride, to - from, bias + from, relu,
                              std::min<int64_t>(kOutputTile, height - at.y),
                              std::min<int64_t>(kOutputTile, width - at.x), width * outputs, outputs,
                              out + ((at.image * height + at.y) * width + at.x) * outputs + from);
    }
  }

  void run() const {
    const int64_t most = channels * outputs < kManyFilters ? kTilesPerTask : kTilesPerTaskOfMany;
    const int64_t step = rows_per_task(tiles(), most, kernel);
    const bool packs = kernel.group > 1;  // else V lies as the loops multiply it
    const int64_t value_stride = step * channels + kLine, product_stride = step * kChannelsPerPass + kLine;
    const int64_t packed_stride =
        packs ? step / kernel.rows * kernel.block_size(channels) + kLine : value_stride;
    parallel_tasks<Scratch>(ceil_div(tiles(), step), [&](int64_t task, Scratch& scratch) {
      if (scratch.values == nullptr) {
        scratch.values = allocate_floats(kPositions * value_stride);
        scratch.packed = packs ? allocate_floats(kPositions * packed_stride) : nullptr;
        scratch.products = allocate_floats(kPositions * product_stride);
      }
      const int64_t first = task * step, count = std::min(step, tiles() - first);
      read_tiles(first, count, value_stride, scratch.values.get());
      if (packs) {
        pack_tiles(scratch.values.get(), value_stride, count, scratch.packed.get(), packed_stride);
      }
      const float* values = packs ? scratch.packed.get() : scratch.values.get();
      for (int64_t from = 0; from < outputs; from += kChannelsPerPass) {
        const int64_t to = std::min(from + kChannelsPerPass, outputs);
        multiply_tiles(values, packed_stride, count, from, to, scratch.products.get(), product_stride);
        write_tiles(scratch.products.get(), product_stride, first, count, from, to);
      }
    });
  }
};

Tensor winograd_conv2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                       int64_t out_channels, bool relu) {
  const char* op = "winograd_conv2d";
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must have the shape [N, C, H, W], got ", shape_of(x));
  check_float(op, "x", x);
  const int64_t channels = x.size(1);
  check_channels(op, channels, out_channels);
  const ConvKernels& kernels = kernels_of(op, weight, kPositions, channels, out_channels);
  STD_TORCH_CHECK(is_channels_last(x), op, ": x must be channels_last");
  const std::vector<float> shift = bias_values(op, bias, out_channels), zeros(channels, 0.0f);
  Tensor out = empty_as(x, {x.size(0), out_channels, x.size(2), x.size(3)}, /*channels_last=*/true);
  if (out.numel() > 0) {
    const Convolution convolution{.kernel = kernels,
                                  .in = x.const_data_ptr<float>(),
                                  .weight = packed_data(weight),
                                  .bias = shift.data(),
                                  .zeros = zeros.data(),
                                  .out = out.mutable_data_ptr<float>(),
                                  .batch = x.size(0),
                                  .height = x.size(2),
                                  .width = x.size(3),
                                  .channels = channels,
                                  .outputs = out_channels,
                                  .relu = relu};
    convolution.run();
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("winograd_conv2d", TORCH_BOX(&winograd_conv2d));
}

}  // namespace maskrcnn_benchmark::cpu

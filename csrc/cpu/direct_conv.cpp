// A convolution of float32 maps on the CPU as one matrix product: over the output pixels, with the channels of
// all taps and of several maps, taken as concatenated, as one long row. Nothing of that is made in memory but
// what a thread works on. Maps are channels_last.

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
// Output channels whose sums a thread holds at once, where a row is summed in one round.
constexpr int64_t kChannelsPerPass = 64;
// Values of a row that are summed in a round: more would not stay in the second cache. Whole groups.
constexpr int64_t kValuesPerRound = 2048;

Tensor direct_weight(const Tensor& weight, bool int16) {
  const char* op = "direct_weight";
  const ConvKernels& kernels = checked_kernels(op, int16);
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) > 0 && weight.size(3) > 0, op,
                  ": weight must have the shape [K, C, H, W], got ", shape_of(weight));
  check_float(op, "weight", weight);
  const int64_t outputs = weight.size(0), channels = weight.size(1), columns = kernels.columns;
  check_channels(op, channels, outputs);
  const int64_t taps = weight.size(2) * weight.size(3), length = taps * channels;
  const int64_t panels = ceil_div(outputs, columns), size = kernels.panel_size(length);
  Tensor packed = new_packed_weight(weight, int16, {panels, 1, size});
  const Tensor filters = torch::stable::contiguous(weight);
  const float* from = filters.const_data_ptr<float>();
  float* to = packed_data(packed);
  torch::stable::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> panel(length * columns, 0.0f);
    for (int64_t i = begin; i < end; ++i) {
      std::fill(panel.begin(), panel.end(), 0.0f);
      for (int64_t k = 0; k < std::min(columns, outputs - i * columns); ++k) {
        const float* filter = from + (i * columns + k) * length;
        for (int64_t c = 0; c < channels; ++c) {
          for (int64_t tap = 0; tap < taps; ++tap) {
            panel[(tap * channels + c) * columns + k] = filter[c * taps + tap];
          }
        }
      }
      kernels.pack_panel(panel.data(), length, to + i * size);
    }
  });
  return packed;
}

struct Part {
  const float* data;  // [pixels, channels]
  int64_t channels;
};

struct Geometry {
  int64_t kernel[2], stride[2], padding[2], dilation[2];  // y, x
};

// What one thread computes with.
struct Scratch {
  std::vector<const float*> places;  // of a pixel's row, piece by piece: a piece is a part's pixel under a tap
  std::vector<const float*> rows;    // of a block
  Floats joined;                     // values of a block that lie in several pieces
  Floats values;                     // V as the loops multiply it
  Floats sums;                       // for the pixels of a task and the outputs of a pass
};

struct Convolution {
  const ConvKernels& kernel;
  std::vector<Part> parts;
  Geometry geometry;
  const float* weight;  // [panels, panel]
  const float* bias;    // [outputs]
  const float* zeros;   // a pixel around the image, of any part
  float* out;           // [batch, out_height, out_width, outputs]
  int64_t batch, height, width, out_height, out_width, channels, outputs;
  bool add, relu;

  int64_t taps() const { return geometry.kernel[0] * geometry.kernel[1]; }
  int64_t length() const { return taps() * channels; }
  int64_t pixels() const { return batch * out_height * out_width; }
  int64_t pieces() const { return taps() * static_cast<int64_t>(parts.size()); }

  void locate(int64_t pixel, const float** places) const {
    const int64_t image = pixel / (out_height * out_width), rest = pixel % (out_height * out_width);
    const int64_t top = rest / out_width * geometry.stride[0] - geometry.padding[0];
    const int64_t left = rest % out_width * geometry.stride[1] - geometry.padding[1];
    for (int64_t ky = 0; ky < geometry.kernel[0]; ++ky) {
      for (int64_t kx = 0; kx < geometry.kernel[1]; ++kx) {
        const int64_t y = top + ky * geometry.dilation[0], x = left + kx * geometry.dilation[1];
        const bool inside = y >= 0 && y < height && x >= 0 && x < width;
        for (const Part& part : parts) {
          *places++ = inside ? part.data + ((image * height + y) * width + x) * part.channels : zeros;
        }
      }
    }
  }

  // The piece that holds the value `at` of a row, and where in the piece.
  std::pair<int64_t, int64_t> find(int64_t at) const {
    int64_t piece = at / channels * static_cast<int64_t>(parts.size()), rest = at % channels;
    for (size_t i = 0; rest >= parts[i].channels; ++i, ++piece) {
      rest -= parts[i].channels;
    }
    return {piece, rest};
  }

  int64_t piece_width(int64_t piece) const { return parts[piece % parts.size()].channels; }

  // Copies the values from `at` on of `count` rows next to each other.
  void join(const float* const* places, int64_t count, int64_t at, int64_t values, float* to) const {
    for (int64_t done = 0; done < values;) {
      const auto [piece, offset] = find(at + done);
      const int64_t width = std::min(piece_width(piece) - offset, values - done);
      for (int64_t i = 0; i < count; ++i) {
        std::memcpy(to + i * values + done, places[i * pieces() + piece] + offset, width * sizeof(float));
      }
      done += width;
    }
  }

  // The values from `begin` to `end` of a block's rows, as the loops multiply them.
  void read_block(const float* const* places, int64_t count, int64_t begin, int64_t end, Scratch& scratch,
                  float* to) const {
    for (int64_t at = begin; at < end;) {
      const auto [piece, offset] = find(at);
      const int64_t left = end - at, there = std::min(piece_width(piece) - offset, left);
      const bool in_one_piece = there == left || there >= kernel.group;
      const int64_t values = there == left  ? left
                             : in_one_piece ? there / kernel.group * kernel.group
                                            : std::min<int64_t>(kernel.group, left);
      if (!in_one_piece) {
        join(places, count, at, values, scratch.joined.get());
      }
      for (int64_t i = 0; i < count; ++i) {
        scratch.rows[i] =
            in_one_piece ? places[i * pieces() + piece] + offset : scratch.joined.get() + i * values;
      }
      kernel.pack_rows(scratch.rows.data(), kChannelBlock, values, count, to + kernel.block_size(at - begin));
      at += values;
    }
  }

  // The sums over the values from `begin` to `end` of `count` rows, for the outputs from `from` to `to`.
  void multiply_rows(const float* values, int64_t count, int64_t begin, int64_t end, int64_t from, int64_t to,
                     int64_t sum_stride, float* sums) const {
    const int64_t panel_size = kernel.panel_size(length()), block_size = kernel.block_size(end - begin);
    for (int64_t k = from; k < to; k += kernel.columns) {
      const float* panel = weight + k / kernel.columns * panel_size + kernel.panel_size(begin);
      for (int64_t i = 0; i < count; i += kernel.rows) {
        kernel.multiply(values + i / kernel.rows * block_size, panel, end - begin,
                        std::min<int64_t>(kernel.rows, count - i), /*add=*/begin > 0, sum_stride,
                        sums + i * sum_stride + k - from);
      }
    }
  }

  void run() const {
    const int64_t step = rows_per_task(pixels(), kPixelsPerTask, kernel);
    const int64_t round = std::min(length(), kValuesPerRound);
    const int64_t pass = round == length() ? kChannelsPerPass : outputs;
    const int64_t sum_stride = ceil_div(pass, kernel.columns) * kernel.columns;
    const int64_t block_size = kernel.block_size(round);
    parallel_tasks<Scratch>(ceil_div(pixels(), step), [&](int64_t task, Scratch& scratch) {
      if (scratch.values == nullptr) {
        scratch.places.resize(step * pieces());
        scratch.rows.resize(kernel.rows);
        scratch.joined = allocate_floats(kernel.rows * kernel.group);
        scratch.values = allocate_floats(step / kernel.rows * block_size);
        scratch.sums = allocate_floats(step * sum_stride);
      }
      const int64_t first = task * step, count = std::min(step, pixels() - first);
      for (int64_t i = 0; i < count; ++i) {
        locate(first + i, scratch.places.data() + i * pieces());
      }
      for (int64_t begin = 0; begin < length(); begin += round) {
        const int64_t end = std::min(begin + round, length());
        for (int64_t i = 0; i < count; i += kernel.rows) {
          read_block(scratch.places.data() + i * pieces(), std::min<int64_t>(kernel.rows, count - i), begin,
                     end, scratch, scratch.values.get() + i / kernel.rows * kernel.block_size(end - begin));
        }
        for (int64_t from = 0; from < outputs; from += pass) {
          const int64_t to = std::min(from + pass, outputs);
          multiply_rows(scratch.values.get(), count, begin, end, from, to, sum_stride, scratch.sums.get());
          if (end == length()) {
            kernel.finish(scratch.sums.get(), sum_stride, count, to - from, bias + from, add, relu,
                          out + first * outputs + from, outputs);
          }
        }
      }
    });
  }
};

Geometry read_geometry(const char* op, const std::vector<int64_t>& numbers) {
  STD_TORCH_CHECK(numbers.size() == 8, op, ": geometry must hold 8 numbers, got ", numbers.size());
  Geometry made{};
  int64_t* const pairs[] = {made.kernel, made.stride, made.padding, made.dilation};
  for (size_t i = 0; i < numbers.size(); ++i) {
    const bool is_padding = pairs[i / 2] == made.padding;
    STD_TORCH_CHECK(numbers[i] >= (is_padding ? 0 : 1), op, ": geometry has no place for ", numbers[i]);
    pairs[i / 2][i % 2] = numbers[i];
  }
  return made;
}

// The size of a convolution's result along y (0) or x (1).
int64_t out_size(const char* op, int64_t size, const Geometry& geometry, int axis) {
  const int64_t reach = geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1;
  const int64_t room = size + 2 * geometry.padding[axis] - reach;
  STD_TORCH_CHECK(room >= 0, op, ": a kernel that reaches over ", reach, " pixels has no place in ", size,
                  " with a padding of ", geometry.padding[axis]);
  return room / geometry.stride[axis] + 1;
}

void check_parts(const char* op, const std::vector<Tensor>& parts) {
  STD_TORCH_CHECK(!parts.empty() && parts[0].dim() == 4, op, ": parts must be maps [N, C, H, W]");
  const Tensor& first = parts[0];
  for (const Tensor& part : parts) {
    check_float(op, "a part", part);
    STD_TORCH_CHECK(part.dim() == 4 && part.size(0) == first.size(0) && part.size(1) > 0 &&
                        part.size(1) % kChannelBlock == 0 && part.size(2) == first.size(2) &&
                        part.size(3) == first.size(3) && is_channels_last(part),
                    op, ": parts must be channels_last, of one size and with a multiple of ", kChannelBlock,
                    " channels, got ", shape_of(first), " and ", shape_of(part));
  }
}

// The convolution of checked parts into `out`, channels_last and of the right size.
void convolve(const char* op, const std::vector<Tensor>& parts, const Tensor& weight,
              const std::optional<Tensor>& bias, const Geometry& geometry, bool add, bool relu, Tensor& out) {
  std::vector<Part> sources;
  int64_t channels = 0, widest = 0;
  for (const Tensor& part : parts) {
    sources.push_back({part.const_data_ptr<float>(), part.size(1)});
    channels += part.size(1);
    widest = std::max(widest, part.size(1));
  }
  const int64_t outputs = out.size(1), taps = geometry.kernel[0] * geometry.kernel[1];
  check_channels(op, channels, outputs);
  const ConvKernels& kernels = kernels_of(op, weight, 1, taps * channels, outputs);
  const std::vector<float> shift = bias_values(op, bias, outputs), zeros(widest, 0.0f);
  const Convolution convolution{.kernel = kernels,
                                .parts = std::move(sources),
                                .geometry = geometry,
                                .weight = packed_data(weight),
                                .bias = shift.data(),
                                .zeros = zeros.data(),
                                .out = out.mutable_data_ptr<float>(),
                                .batch = parts[0].size(0),
                                .height = parts[0].size(2),
                                .width = parts[0].size(3),
                                .out_height = out.size(2),
                                .out_width = out.size(3),
                                .channels = channels,
                                .outputs = outputs,
                                .add = add,
                                .relu = relu};
  if (convolution.pixels() > 0) {
    convolution.run();
  }
}

Tensor direct_conv2d(const std::vector<Tensor>& parts, const Tensor& weight,
                     const std::optional<Tensor>& bias, int64_t out_channels,
                     const std::vector<int64_t>& geometry, bool relu) {
  const char* op = "direct_conv2d";
  check_parts(op, parts);
  const Geometry read = read_geometry(op, geometry);
  const int64_t height = out_size(op, parts[0].size(2), read, 0);
  const int64_t width = out_size(op, parts[0].size(3), read, 1);
  Tensor out =
      empty_as(parts[0], {parts[0].size(0), out_channels, height, width}, /*channels_last=*/true);
  convolve(op, parts, weight, bias, read, /*add=*/false, relu, out);
  return out;
}

void direct_conv2d_add_(Tensor out, const std::vector<Tensor>& parts, const Tensor& weight,
                        const std::optional<Tensor>& bias, const std::vector<int64_t>& geometry, bool relu) {
  const char* op = "direct_conv2d_add_";
  check_parts(op, parts);
  check_float(op, "out", out);
  const Geometry read = read_geometry(op, geometry);
  STD_TORCH_CHECK(out.dim() == 4 && is_channels_last(out) && out.size(0) == parts[0].size(0) &&
                      out.size(2) == out_size(op, parts[0].size(2), read, 0) &&
                      out.size(3) == out_size(op, parts[0].size(3), read, 1),
                  op, ": out must be channels_last and of the result's size, got ", shape_of(out));
  convolve(op, parts, weight, bias, read, /*add=*/true, relu, out);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("direct_weight", TORCH_BOX(&direct_weight));
  m.impl("direct_conv2d", TORCH_BOX(&direct_conv2d));
  m.impl("direct_conv2d_add_", TORCH_BOX(&direct_conv2d_add_));
}

}  // namespace maskrcnn_benchmark::cpu

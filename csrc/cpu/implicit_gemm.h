#pragma once

// A convolution of float32 maps as one matrix product: over the output pixels, with the channels of all taps
// and of several maps, taken as concatenated, as one long row. Nothing of that is made in memory but what a
// thread works on.

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "cpu/conv_common.h"
#include "cpu/parallel.h"

namespace maskrcnn_benchmark::cpu {

// Pixels that a thread works on at once: more use the weight more often, fewer stay in the second cache.
constexpr int64_t kPixelsPerTask = 56;
// Output channels whose sums a thread holds at once, where a row is summed in one round.
constexpr int64_t kChannelsPerPass = 64;
// Values of a row that are summed in a round: more would not stay in the second cache. Whole groups.
constexpr int64_t kValuesPerRound = 2048;

struct Part {
  const float* data;  // [pixels, channels]
  int64_t channels;
};

struct Geometry {
  int64_t kernel[2], stride[2], padding[2], dilation[2];  // y, x
};

// What one thread computes with.
struct GemmScratch {
  // Of the rows of a task: where each piece lies. A piece is a part's pixel under a tap.
  std::vector<const float*> places;
  std::vector<const float*> rows;  // of a block
  Floats joined;                   // values of a block that lie in several pieces
  Floats values;                   // V as the loops multiply it
  Floats sums;                     // for the pixels of a task and the outputs of a pass
};

struct ImplicitGemm {
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

  // The places of an output pixel.
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
  void read_block(const float* const* places, int64_t count, int64_t begin, int64_t end, GemmScratch& scratch,
                  float* to) const {
    for (int64_t at = begin; at < end;) {
      const auto [piece, offset] = find(at);
      const int64_t left = end - at, there = std::min(piece_width(piece) - offset, left);
      // Whole groups that the piece holds, or the rest of the row; else a group out of several pieces.
      int64_t values = there == left ? left : there / kernel.group * kernel.group;
      if (values > 0) {
        for (int64_t i = 0; i < count; ++i) {
          scratch.rows[i] = places[i * pieces() + piece] + offset;
        }
      } else {
        values = std::min<int64_t>(kernel.group, left);
        join(places, count, at, values, scratch.joined.get());
        for (int64_t i = 0; i < count; ++i) {
          scratch.rows[i] = scratch.joined.get() + i * values;
        }
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
    parallel_tasks<GemmScratch>(ceil_div(pixels(), step), [&](int64_t task, GemmScratch& scratch) {
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

}  // namespace maskrcnn_benchmark::cpu

// The loops of conv_kernels.h for one instruction set. The file that includes this has set the
// instruction set for the compiler and defined Vec (a vector of floats), kLanes (how many), kRows and
// load, store, broadcast and multiply_add. Nothing of the standard library may be called here:
// its inline functions would be compiled for this instruction set, and the linker may keep that version for
// everybody.

namespace maskrcnn_benchmark::cpu {
namespace {

constexpr int kVecs = 2;  // vectors of output channels that multiply() holds a row
constexpr int kColumns = kVecs * kLanes;
constexpr float kRootHalf = 0.70710678118654752f;
constexpr float kRootTwo = 1.41421356237309505f;

// factor * a + b
MASKRCNN_INLINE Vec scaled_add(float factor, Vec a, Vec b) {
  return multiply_add(broadcast(factor), a, b);
}

// out = B^T in, for vectors of six.
MASKRCNN_INLINE void transform_six(const Vec* in, int stride, Vec* out) {
  const Vec d0 = in[0], d1 = in[stride], d2 = in[2 * stride], d3 = in[3 * stride], d4 = in[4 * stride],
            d5 = in[5 * stride];
  const Vec even = scaled_add(-2.0f, d2, d4), odd = kRootHalf * scaled_add(-2.0f, d1, d3);
  const Vec even2 = scaled_add(-0.5f, d2, d4), odd2 = kRootTwo * scaled_add(-0.5f, d1, d3);
  out[0] = scaled_add(-2.5f, d2, d0 + d4);
  out[1] = even + odd;
  out[2] = even - odd;
  out[3] = even2 + odd2;
  out[4] = even2 - odd2;
  out[5] = scaled_add(-2.5f, d3, d1 + d5);
}

// out = A^T in: six products to four outputs.
MASKRCNN_INLINE void transform_four(const Vec* in, int stride, Vec* out) {
  const Vec m1 = in[stride], m2 = in[2 * stride], m3 = in[3 * stride], m4 = in[4 * stride];
  const Vec sum = m1 + m2, difference = kRootHalf * (m1 - m2);
  const Vec sum2 = m3 + m4, difference2 = kRootTwo * (m3 - m4);
  out[0] = in[0] + sum + sum2;
  out[1] = difference + difference2;
  out[2] = scaled_add(2.0f, sum2, 0.5f * sum);
  out[3] = scaled_add(2.0f, difference2, scaled_add(0.5f, difference, in[5 * stride]));
}

// A NaN stays one, as in torch.relu.
MASKRCNN_INLINE Vec cut_below_zero(Vec value) {
  return value < 0.0f ? Vec{} : value;
}

void transform_input(const float* const* pixels, int64_t channels, int64_t position_stride, float* out) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    float* target = out + c / kChannelBlock * kChannelBlock * kRows + c % kChannelBlock;
    Vec columns[kPositions];  // B^T d, column by column
    for (int x = 0; x < kInputTile; ++x) {
      Vec column[kInputTile];
      for (int y = 0; y < kInputTile; ++y) {
        const float* pixel = pixels[y * kInputTile + x] + c;
        __builtin_prefetch(pixel + kLanes);  // 36 places at once are more than the processor foresees
        column[y] = load(pixel);
      }
      transform_six(column, 1, columns + x * kInputTile);
    }
    for (int y = 0; y < kInputTile; ++y) {
      Vec row[kInputTile];
      transform_six(columns + y, kInputTile, row);
      for (int x = 0; x < kInputTile; ++x) {
        store(target + (y * kInputTile + x) * position_stride, row[x]);
      }
    }
  }
}

template <int kCount>
MASKRCNN_INLINE void multiply_rows(const float* v, const float* u, int64_t channels, bool add,
                                   int64_t out_stride, float* out) {
  Vec sums[kCount][kVecs] = {};
  for (int64_t block = 0; block < channels; block += kChannelBlock, v += kChannelBlock * kRows) {
    for (int c = 0; c < kChannelBlock; ++c, u += kColumns) {
      // What is needed 16 channels from now: the filters come from a cache further out, and the next
      // block of tiles' channels have 16 lines at most.
      for (int k = 0; k < kColumns; k += 16) {
        __builtin_prefetch(u + 16 * kColumns + k);
      }
      __builtin_prefetch(v + (2 * kRows + c) * kChannelBlock);
      Vec filters[kVecs];
      for (int k = 0; k < kVecs; ++k) {
        filters[k] = load(u + k * kLanes);
      }
#pragma GCC unroll 16
      for (int t = 0; t < kCount; ++t) {
        const Vec value = broadcast(v[t * kChannelBlock + c]);
        for (int k = 0; k < kVecs; ++k) {
          sums[t][k] = multiply_add(value, filters[k], sums[t][k]);
        }
      }
    }
  }
  // Not unrolled, the sums would go through memory to be indexed.
#pragma GCC unroll 16
  for (int t = 0; t < kCount; ++t) {
    for (int k = 0; k < kVecs; ++k) {
      float* target = out + t * out_stride + k * kLanes;
      store(target, add ? load(target) + sums[t][k] : sums[t][k]);
    }
  }
}

template <int kCount = kRows>
void multiply(const float* v, const float* u, int64_t channels, int64_t count, bool add, int64_t out_stride,
              float* out) {
  if constexpr (kCount > 0) {
    if (count == kCount) {
      multiply_rows<kCount>(v, u, channels, add, out_stride, out);
    } else {
      multiply<kCount - 1>(v, u, channels, count, add, out_stride, out);
    }
  }
}

void transform_output(const float* products, int64_t position_stride, int64_t channels, const float* bias,
                      bool relu, int64_t height, int64_t width, int64_t row_stride, int64_t pixel_stride,
                      float* out) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Vec shift = load(bias + c);
    Vec columns[kInputTile * kOutputTile];  // A^T M, column by column
    for (int x = 0; x < kInputTile; ++x) {
      Vec column[kInputTile];
      for (int y = 0; y < kInputTile; ++y) {
        column[y] = load(products + (y * kInputTile + x) * position_stride + c);
      }
      transform_four(column, 1, columns + x * kOutputTile);
    }
    for (int64_t y = 0; y < height; ++y) {
      Vec row[kOutputTile];
      transform_four(columns + y, kOutputTile, row);
      for (int64_t x = 0; x < width; ++x) {
        const Vec value = row[x] + shift;
        store(out + y * row_stride + x * pixel_stride + c, relu ? cut_below_zero(value) : value);
      }
    }
  }
}

void finish(const float* sums, int64_t sum_stride, int64_t count, int64_t channels, const float* bias,
            bool add, bool relu, float* out, int64_t out_stride) {
  for (int64_t t = 0; t < count; ++t, sums += sum_stride, out += out_stride) {
    for (int64_t c = 0; c < channels; c += kLanes) {
      const Vec shifted = load(sums + c) + load(bias + c);
      const Vec value = add ? shifted + load(out + c) : shifted;
      store(out + c, relu ? cut_below_zero(value) : value);
    }
  }
}

int64_t block_size(int64_t channels) {
  return kRows * channels;
}

int64_t panel_size(int64_t channels) {
  return kColumns * channels;
}

void pack_rows(const float* const* rows, int64_t block_stride, int64_t channels, int64_t count, float* out) {
  for (int64_t c = 0; c < channels; c += kChannelBlock, out += kRows * kChannelBlock) {
    for (int64_t t = 0; t < count; ++t) {
      const float* from = rows[t] + c / kChannelBlock * block_stride;
      for (int i = 0; i < kChannelBlock; i += kLanes) {
        store(out + t * kChannelBlock + i, load(from + i));
      }
    }
  }
}

void pack_panel(const float* u, int64_t channels, float* out) {
  __builtin_memcpy(out, u, static_cast<size_t>(kColumns * channels) * sizeof(float));
}

constexpr ConvKernels kKernels = {.rows = kRows,
                                  .columns = kColumns,
                                  .group = 1,
                                  .block_size = block_size,
                                  .panel_size = panel_size,
                                  .pack_rows = pack_rows,
                                  .pack_panel = pack_panel,
                                  .transform_input = transform_input,
                                  .multiply = multiply<>,
                                  .finish = finish,
                                  .transform_output = transform_output};

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

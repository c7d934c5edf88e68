#pragma once

#include <cstdint>

// The inner loops of convolutions of float32 maps on the CPU: a matrix product, where 1x1 convolutions and
// Winograd's method spend their time, and what surrounds it. There are loops that multiply in float32, and
// loops that multiply 16-bit integers (int16_kernels.cpp).
//
// Winograd's minimal filtering F(4x4, 3x3), for a 3x3 convolution of stride 1: A. Lavin and S. Gray, "Fast
// Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.
//
//     input tile 6x6  d -> V = B^T d B      filter 3x3  g -> U = G g G^T
//     M[position] = sum over channels of V[position] * U[position]        (36 positions)
//     output tile 4x4  y = A^T M A
//
// 36 products a channel pair and tile instead of 144. The points that the matrices rest on are
// 0, +-sqrt(1/2), +-sqrt(2) and infinity: with them the result's rounding error is about twice the direct
// convolution's, with the better known 0, +-1, +-2 and infinity it is four times as large.
namespace maskrcnn_benchmark::cpu {

constexpr int kInputTile = 6;
constexpr int kOutputTile = 4;
constexpr int kPositions = kInputTile * kInputTile;
// Channels come in blocks of this many, in every instruction set.
constexpr int kChannelBlock = 16;

// The block of sums that 32 registers of AVX-512 hold: 14 rows x 2 vectors of sums, 2 of filters and the
// broadcast value make 31.
constexpr int kAvx512Rows = 14;
constexpr int kAvx512Columns = 32;

// Where the left matrix V of a product lies: [block of `rows` rows][channel block][row of the block][16
// channels], so that multiply() reads `rows` rows from one place. A row is a pixel of a 1x1 convolution, a
// tile of Winograd's method at one of the 36 positions. The right matrix U lies in panels:
// [panel][channel][`columns` output channels]. Loops that do not multiply in float32 have both packed.
struct ConvKernels {
  int rows;     // rows that multiply() takes at once
  int columns;  // output channels that multiply() gives at once
  int group;    // channels that are packed together; 1 where multiply() reads float32

  // The floats of memory that a block of V and a panel of U take, as multiply() reads them. What so many
  // channels take is where the next one begins, if they are whole groups.
  int64_t (*block_size)(int64_t channels);
  int64_t (*panel_size)(int64_t channels);

  // A block of `count` rows: each row's channel blocks are `block_stride` floats apart.
  void (*pack_rows)(const float* const* rows, int64_t block_stride, int64_t channels, int64_t count,
                    float* out);
  // A panel that lies in float32 as above.
  void (*pack_panel)(const float* u, int64_t channels, float* out);

  // pixels: the 36 input pixels of a tile, row by row, each with `channels` values. out: the tile's first
  // values of position 0.
  void (*transform_input)(const float* const* pixels, int64_t channels, int64_t position_stride, float* out);

  // out[t * out_stride + k] = sum over c of V[t][c] * U[c][k] for the first `count` rows of a block;
  // k = 0 .. columns-1. With `add`, what is in out is added.
  void (*multiply)(const float* v, const float* u, int64_t channels, int64_t count, bool add,
                   int64_t out_stride, float* out);

  // out = sums + bias, with `add` + out, cut at zero if `relu`; `count` rows.
  void (*finish)(const float* sums, int64_t sum_stride, int64_t count, int64_t channels, const float* bias,
                 bool add, bool relu, float* out, int64_t out_stride);

  // products: a tile's M of position 0. Adds the bias, cuts at zero if asked to, and writes the `height` x
  // `width` pixels of the tile that the image has.
  void (*transform_output)(const float* products, int64_t position_stride, int64_t channels,
                           const float* bias, bool relu, int64_t height, int64_t width, int64_t row_stride,
                           int64_t pixel_stride, float* out);
};

// The best loops in float32 that this processor runs, as far as ATen's own variable ATEN_CPU_CAPABILITY
// allows; null if it has neither AVX2 nor AVX-512.
const ConvKernels* conv_kernels();

// The loops that multiply 16-bit integers, likewise; null without AVX-512 VNNI.
const ConvKernels* int16_kernels();

// One instruction set's loops; null where the compiler does not make them.
const ConvKernels* conv_kernels_avx512();
const ConvKernels* conv_kernels_avx2();
const ConvKernels* int16_kernels_vnni();

}  // namespace maskrcnn_benchmark::cpu

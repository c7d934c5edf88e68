#pragma once

// Device code of NMS, and the sizes of its launches. All tensors are dense; images, boxes
// per image (K) and words of 64 boxes (W = ceil(K / 64)) are the sizes. A rank is a place in an image's order
// of descending score.
//
// Work goes through ranges of rows (ranks) of bounded length: overlap_kernel compares the rows of a range
// with all boxes after them, sweep_kernel then decides row by row which ones stay. Rows that an earlier range
// has removed are not compared any more, and an image that has enough boxes is left alone.

#include <cuda_runtime.h>

#include <algorithm>
#include <climits>
#include <cstdint>

#include "nms_threshold.h"

namespace maskrcnn_benchmark::cuda {

constexpr int kTile = 64;            // rows and columns of a tile: one bit of a word for each column
constexpr int kThreads = 256;        // of the elementwise kernels and the sweep
constexpr int32_t kNoKey = INT_MIN;  // sorts after every number's key

constexpr int64_t kOverlapBytes = int64_t(64) << 20;  // at most, for the overlap bits of one range of rows
constexpr int64_t kMaxRows = 2048;  // of one range: later ranges skip what earlier ones have removed

inline unsigned blocks_for(int64_t n) {
  return unsigned((n + kThreads - 1) / kThreads);
}

// Rows of one range: whole tiles, and never more than the boxes of an image have.
inline int64_t rows_of_range(int64_t images, int64_t words) {
  const int64_t rows_that_fit = kOverlapBytes / (images * words * int64_t(sizeof(uint64_t)));
  return std::clamp(rows_that_fit / kTile, int64_t(1), std::min(words, kMaxRows / kTile)) * kTile;
}

// A box in rank order, with exclusive far corners (x2 + 1, y2 + 1).
struct RankedBox {
  float x1, y1, x2, y2;
};

// What the walk over one batch needs; device pointers.
struct NmsState {
  const RankedBox* boxes;  // [images, K] by rank
  const int64_t* groups;   // [images, K] by rank, or null: all in one group
  const int32_t* counts;   // [images] boxes that take part: ranks [0, count)
  uint64_t* removed;       // [images, W] a bit for each rank; zeros at first
  int32_t* num_kept;       // [images] zeros at first
  int64_t boxes_per_image;
  int64_t words;
  int64_t max_output;
};

// Integer keys that order as the scores do (-0 equals +0); kNoKey for an entry that takes no part: not
// valid, or NaN in the score or a coordinate.
__global__ void key_kernel(const float* boxes, const float* scores, const bool* valid, int64_t n,
                           int32_t* keys) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) {
    return;
  }
  const float* box = boxes + 4 * i;
  const float score = scores[i] + 0.0f;
  const bool has_nan = isnan(box[0]) || isnan(box[1]) || isnan(box[2]) || isnan(box[3]) || isnan(score);
  const int32_t bits = __float_as_int(score);
  const bool takes_part = !has_nan && (valid == nullptr || valid[i]);
  keys[i] = !takes_part ? kNoKey : bits >= 0 ? bits : bits ^ INT_MAX;
}

// Brings boxes and groups into rank order and counts the entries that take part.
// sorted_keys, order: [images, K] the keys in descending order and the entries they came from.
__global__ void rank_kernel(const float* boxes, const int64_t* groups, const int32_t* sorted_keys,
                            const int64_t* order, int64_t n, int64_t boxes_per_image, RankedBox* ranked_boxes,
                            int64_t* ranked_groups, int32_t* counts) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) {
    return;
  }
  const int64_t image = i / boxes_per_image, rank = i % boxes_per_image;
  const bool takes_part = sorted_keys[i] != kNoKey;
  if (rank == 0 && !takes_part) {
    counts[image] = 0;
  }
  if (takes_part && (rank + 1 == boxes_per_image || sorted_keys[i + 1] == kNoKey)) {
    counts[image] = int32_t(rank + 1);
  }
  const int64_t from = image * boxes_per_image + order[i];
  const float* box = boxes + 4 * from;
  ranked_boxes[i] = {box[0], box[1], __fadd_rn(box[2], 1.0f), __fadd_rn(box[3], 1.0f)};
  if (groups != nullptr) {
    ranked_groups[i] = groups[from];
  }
}

__device__ inline float box_area(const RankedBox& box) {
  return __fmul_rn(__fsub_rn(box.x2, box.x1), __fsub_rn(box.y2, box.y1));
}

// Intrinsics, so that no multiply is fused with an add: the numbers equal the CPU's.
__device__ inline bool overlaps(const RankedBox& a, float area_a, const RankedBox& b, float area_b,
                                const NmsThreshold<float>& threshold) {
  const float width = fmaxf(__fsub_rn(fminf(a.x2, b.x2), fmaxf(a.x1, b.x1)), 0.0f);
  const float height = fmaxf(__fsub_rn(fminf(a.y2, b.y2), fmaxf(a.y1, b.y1)), 0.0f);
  const float inter = __fmul_rn(width, height);
  const float both = __fsub_rn(__fadd_rn(area_a, area_b), inter);
  return inter >= __fmul_rn(threshold.bound, both) && __fdiv_rn(inter, both) > threshold.limit;
}

// Grid (W, rows / kTile, images), kTile threads: a thread is a row, a block a tile of rows and columns.
// overlap [images, num_rows, W]: bit c of word w tells whether the row removes rank 64 w + c. Words of
// tiles before the row's own, and of rows that are removed or take no part, are not written.
__global__ void overlap_kernel(NmsState state, NmsThreshold<float> threshold, int64_t first_row,
                               int64_t num_rows, uint64_t* overlap) {
  const int64_t image = blockIdx.z, row_word = first_row / kTile + blockIdx.y, column_word = blockIdx.x;
  const int64_t count = state.counts[image];
  if (column_word < row_word || column_word * kTile >= count || state.num_kept[image] >= state.max_output) {
    return;
  }
  const RankedBox* boxes = state.boxes + image * state.boxes_per_image;
  const int64_t* groups = state.groups ? state.groups + image * state.boxes_per_image : nullptr;

  __shared__ RankedBox columns[kTile];
  __shared__ float areas[kTile];
  __shared__ int64_t column_groups[kTile];
  const int64_t column = column_word * kTile + threadIdx.x;
  if (column < count) {
    columns[threadIdx.x] = boxes[column];
    areas[threadIdx.x] = box_area(boxes[column]);
    column_groups[threadIdx.x] = groups ? groups[column] : 0;
  }
  __syncthreads();

  const int64_t row = row_word * kTile + threadIdx.x;
  const bool removed = (state.removed[image * state.words + row_word] >> threadIdx.x) & 1;
  if (row >= count || removed) {
    return;
  }
  const RankedBox box = boxes[row];
  const float area = box_area(box);
  const int64_t group = groups ? groups[row] : 0;
  const int num_columns = int(min(int64_t(kTile), count - column_word * kTile));
  uint64_t bits = 0;
  for (int c = column_word == row_word ? int(threadIdx.x) + 1 : 0; c < num_columns; ++c) {
    if (column_groups[c] == group && overlaps(box, area, columns[c], areas[c], threshold)) {
      bits |= uint64_t(1) << c;
    }
  }
  overlap[(image * num_rows + row - first_row) * state.words + column_word] = bits;
}

// The rows of one tile that stay, given the ones already removed and how each removes the others of the
// tile; at most `room` of them.
__device__ inline uint64_t resolve_tile(uint64_t removed, int num_rows, const uint64_t* tile, int64_t room) {
  uint64_t open = ~removed & (num_rows == kTile ? ~uint64_t(0) : (uint64_t(1) << num_rows) - 1);
  uint64_t kept = 0;
  for (; open != 0 && room > 0; --room) {
    const int row = __ffsll(static_cast<long long>(open)) - 1;
    kept |= uint64_t(1) << row;
    open &= ~(uint64_t(1) << row);
    open &= ~tile[row];
  }
  return kept;
}

// Grid (images), kThreads threads: walks the rows of the range tile by tile, writes those that stay to
// index [images, max_output] and marks what they remove. order: rank -> entry.
__global__ void sweep_kernel(NmsState state, const int64_t* order, int64_t first_row, int64_t num_rows,
                             const uint64_t* overlap, int64_t* index) {
  const int64_t image = blockIdx.x, count = state.counts[image];
  const int64_t words = (count + kTile - 1) / kTile;
  const int64_t end_row = min(first_row + num_rows, count);
  uint64_t* removed = state.removed + image * state.words;
  int64_t num_kept = state.num_kept[image];
  if (first_row >= count || num_kept >= state.max_output) {
    return;
  }

  // Two barriers a tile: `tile` is written before the first and read between them, kept_of_tile is written
  // between them and read after the second, `removed` is read between them and written after the second.
  __shared__ uint64_t tile[kTile];
  __shared__ uint64_t kept_of_tile;
  for (int64_t row = first_row; row < end_row && num_kept < state.max_output; row += kTile) {
    const int64_t word = row / kTile;
    const int rows_here = int(min(int64_t(kTile), end_row - row));
    const uint64_t* tile_overlap = overlap + (image * num_rows + row - first_row) * state.words;
    if (threadIdx.x < rows_here) {
      tile[threadIdx.x] = tile_overlap[threadIdx.x * state.words + word];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      kept_of_tile = resolve_tile(removed[word], rows_here, tile, state.max_output - num_kept);
    }
    __syncthreads();
    const uint64_t kept = kept_of_tile;
    if (threadIdx.x < kTile && ((kept >> threadIdx.x) & 1)) {
      const int before = __popcll(kept & ((uint64_t(1) << threadIdx.x) - 1));
      index[image * state.max_output + num_kept + before] =
          order[image * state.boxes_per_image + row + threadIdx.x];
    }
    for (int64_t w = word + 1 + threadIdx.x; w < words; w += blockDim.x) {
      uint64_t bits = removed[w];
      for (uint64_t rest = kept; rest != 0; rest &= rest - 1) {
        bits |= tile_overlap[(__ffsll(static_cast<long long>(rest)) - 1) * state.words + w];
      }
      removed[w] = bits;
    }
    num_kept += __popcll(kept);
  }
  if (threadIdx.x == 0) {
    state.num_kept[image] = int32_t(num_kept);
  }
}

// keep [images, max_output]: the first num_kept places of each row.
__global__ void keep_kernel(const int32_t* num_kept, int64_t n, int64_t max_output, bool* keep) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) {
    keep[i] = i % max_output < num_kept[i / max_output];
  }
}

}  // namespace maskrcnn_benchmark::cuda

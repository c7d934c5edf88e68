#pragma once

#include <cstdint>

namespace maskrcnn_benchmark::cpu {

// One call over a batch: `images` sets of `boxes_per_image` boxes, each set on its own.
// Boxes of different groups never remove each other; entries that are not valid take no part.
template <typename T>
struct NmsBatch {
  const T* boxes;         // [images, boxes_per_image, 4] x1, y1, x2, y2 (inclusive corners)
  const T* scores;        // [images, boxes_per_image]
  const int64_t* groups;  // [images, boxes_per_image], or null: all in one group
  const bool* valid;      // [images, boxes_per_image], or null: all valid
  int64_t images;
  int64_t boxes_per_image;
};

// Greedy NMS. Writes, for each image, the indices of the boxes that stay in order
// of descending score (ties: ascending index) to index[images, max_output], at most max_output of them,
// and their number to counts[images]; the rest of a row is left untouched.
template <typename T>
void suppress_batch(const NmsBatch<T>& batch, double threshold, int64_t max_output, int64_t* index,
                    int64_t* counts);

extern template void suppress_batch<float>(const NmsBatch<float>&, double, int64_t, int64_t*, int64_t*);
extern template void suppress_batch<double>(const NmsBatch<double>&, double, int64_t, int64_t*, int64_t*);

}  // namespace maskrcnn_benchmark::cpu

#pragma once

#include <cstdint>

namespace maskrcnn_benchmark::cpu {

// Greedy NMS of one group of boxes.
//
// boxes: [*, 4] x1, y1, x2, y2 with inclusive corners; order[count]: which of them, best first.
// Sets kept[i] = 1 for every place i of `order` whose box stays, stopping once max_kept of them do
// (kept[] comes in as zeros). No coordinate is NaN.
void suppress_ordered(const float* boxes, const int32_t* order, int64_t count, double threshold,
                      int64_t max_kept, char* kept);
void suppress_ordered(const double* boxes, const int32_t* order, int64_t count, double threshold,
                      int64_t max_kept, char* kept);

}  // namespace maskrcnn_benchmark::cpu

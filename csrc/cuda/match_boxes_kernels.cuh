#pragma once

// Device code of the matching of boxes to ground truth. The grid of both kernels is (blocks_for(boxes of an
// image), images), a block has kThreads threads, and each keeps what it compares again and again in shared
// memory. Nothing that is as large as boxes times ground truths is ever stored, and a maximum does not depend
// on the order of what it is taken over: results are the same in every run.

#include <cuda_runtime.h>

#include <cstdint>

#include "box_matching.h"

namespace maskrcnn_benchmark::cuda {

constexpr int kThreads = 256;
constexpr int kSlice = 32;  // boxes that a thread of highest_kernel compares with a ground truth

inline unsigned blocks_for(int64_t n) {
  return unsigned((n + kThreads - 1) / kThreads);
}

// Device pointers; all tensors are dense.
struct MatchProblem {
  const float* boxes;     // [A, 4], or [images, A, 4]
  const float* gt_boxes;  // [images, G, 4]
  const bool* gt_valid;   // [images, G]
  int64_t num_boxes;      // A
  int64_t num_gt;         // G
  bool shared_boxes;      // whether all images have the same ones
};

// Box i of the image.
__device__ inline MeasuredBox box_of(const MatchProblem& problem, int64_t image, int64_t i) {
  return measure_box(problem.boxes + 4 * ((problem.shared_boxes ? 0 : image * problem.num_boxes) + i));
}

// Raises highest [images, G], the largest overlap of each ground truth, kNoOverlap at first. A block has 256
// boxes, a warp a slice of them, each of its threads some ground truths.
__global__ void __launch_bounds__(kThreads) highest_kernel(MatchProblem problem, float* highest) {
  __shared__ MeasuredBox boxes[kThreads];
  const int64_t image = blockIdx.y, first = int64_t(blockIdx.x) * kThreads;
  const int count = int(min(int64_t(kThreads), problem.num_boxes - first));
  if (threadIdx.x < count) {
    boxes[threadIdx.x] = box_of(problem, image, first + threadIdx.x);
  }
  __syncthreads();
  const int begin = int(threadIdx.x) / kSlice * kSlice, end = min(begin + kSlice, count);
  for (int64_t g = int(threadIdx.x) % kSlice; g < problem.num_gt; g += kSlice) {
    const int64_t slot = image * problem.num_gt + g;
    if (!problem.gt_valid[slot]) {
      continue;
    }
    const MeasuredBox gt = measure_box(problem.gt_boxes + 4 * slot);
    float largest = kNoOverlap;
    for (int i = begin; i < end; ++i) {
      const float overlap = overlap_of(boxes[i], gt);
      largest = overlap > largest ? overlap : largest;  // not so with NaN
    }
    // The bits order as the numbers do; adding 0 makes 0 of -0. Most comparisons spare the atomic operation.
    if (largest > highest[slot]) {
      atomicMax(reinterpret_cast<int*>(highest + slot), __float_as_int(largest + 0.0f));
    }
  }
}

// A ground truth in shared memory.
struct GroundTruth {
  MeasuredBox box;
  float highest;
  bool valid;
};

// Writes matches [images, A]. highest [images, G] as above, or null: no best box is restored. A thread has a
// box and walks over the ground truths, of which a tile is in shared memory: of equal overlaps the first
// stays.
__global__ void __launch_bounds__(kThreads)
    match_kernel(MatchProblem problem, MatchRule rule, const float* highest, int64_t* matches) {
  __shared__ GroundTruth tile[kThreads];
  const int64_t image = blockIdx.y, i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const bool in_range = i < problem.num_boxes;
  const MeasuredBox box = in_range ? box_of(problem, image, i) : MeasuredBox{};
  float largest = kNoOverlap;
  int64_t best_gt = 0;
  bool is_best = false;
  for (int64_t start = 0; start < problem.num_gt; start += kThreads) {
    __syncthreads();  // before this all threads are done with the last tile
    const int count = int(min(int64_t(kThreads), problem.num_gt - start));
    if (threadIdx.x < count) {
      const int64_t slot = image * problem.num_gt + start + threadIdx.x;
      tile[threadIdx.x] = {measure_box(problem.gt_boxes + 4 * slot), highest ? highest[slot] : kNoOverlap,
                           problem.gt_valid[slot]};
    }
    __syncthreads();
    for (int g = 0; g < count; ++g) {
      if (!tile[g].valid) {
        continue;
      }
      const float overlap = overlap_of(box, tile[g].box);
      is_best = is_best || overlap == tile[g].highest;
      if (overlap > largest) {
        largest = overlap;
        best_gt = start + g;
      }
    }
  }
  if (in_range) {
    matches[image * problem.num_boxes + i] = rule.match(largest, best_gt, is_best);
  }
}

}  // namespace maskrcnn_benchmark::cuda

#pragma once

// Device code of the mask targets: a block rasterises one region, with the arithmetic of the CPU
// (polygon_edges.h). Offsets are trusted to ascend; whatever they hold, only vertices that exist are read.

#include <cuda_runtime.h>

#include <cstdint>

#include "polygon_edges.h"

namespace maskrcnn_benchmark::cuda {

constexpr int kThreads = 128;
constexpr int kWordBits = 32;

constexpr int words_of_mask(int size) {
  return (size * size + kWordBits - 1) / kWordBits;
}

// Dynamic shared memory of a block: two bits a pixel.
constexpr int shared_bytes(int size) {
  return 2 * words_of_mask(size) * int(sizeof(uint32_t));
}

// A bit for each pixel, column after column: a passage of an edge toggles inside and outside from its row on.
__device__ inline void toggle_edges(const float* vertices, int64_t count, const CropFrame& frame, int size,
                                    uint32_t* toggles) {
  const int pixels = size * size;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    const float* next = vertices + 2 * (i + 1 < count ? i + 1 : 0);
    const FineEdge edge(fine_point(vertices + 2 * i, frame), fine_point(next, frame));
    int first, last, v;
    edge.columns(size, &first, &last);
    for (int column = first; column <= last; ++column) {
      if (edge.passage(column, &v)) {
        const int pixel = column * size + row_below(v, size);
        if (pixel < pixels) {
          atomicXor(toggles + pixel / kWordBits, 1u << pixel % kWordBits);
        }
      }
    }
  }
}

// Bit i becomes the parity of the bits 0 .. i.
__device__ inline uint32_t running_parity(uint32_t bits) {
  for (int shift = 1; shift < kWordBits; shift *= 2) {
    bits ^= bits << shift;
  }
  return bits;
}

// Adds the pixels inside the toggles' polygon to the mask, and clears the toggles.
__device__ inline void fill_inside(uint32_t* toggles, uint32_t* mask, int words) {
  for (int word = threadIdx.x; word < words; word += kThreads) {
    toggles[word] = running_parity(toggles[word]);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t inside = 0;  // all ones where the words so far end inside
    for (int word = 0; word < words; ++word) {
      toggles[word] ^= inside;
      inside = toggles[word] >> (kWordBits - 1) ? ~0u : 0u;
    }
  }
  __syncthreads();
  for (int word = threadIdx.x; word < words; word += kThreads) {
    mask[word] |= toggles[word];
    toggles[word] = 0;
  }
  __syncthreads();
}

__device__ inline int64_t clamp_offset(int64_t value, int64_t high) {
  return value < 0 ? 0 : value > high ? high : value;
}

// blockIdx.x: region; kThreads threads and shared_bytes(size).
__global__ void __launch_bounds__(kThreads) rasterize_kernel(Polygons polygons, const int64_t* instance,
                                                             const float* boxes, int size, uint8_t* masks) {
  extern __shared__ uint32_t shared[];
  const int pixels = size * size, words = words_of_mask(size);
  uint32_t* toggles = shared;
  uint32_t* mask = shared + words;
  for (int word = threadIdx.x; word < 2 * words; word += kThreads) {
    shared[word] = 0;
  }
  __syncthreads();
  const int64_t of_region = instance[blockIdx.x];
  if (of_region >= 0 && of_region < polygons.num_instances) {
    const CropFrame frame = frame_of_box(boxes + 4 * int64_t(blockIdx.x), size);
    const int64_t first = clamp_offset(polygons.instance_starts[of_region], polygons.num_polygons);
    const int64_t last = clamp_offset(polygons.instance_starts[of_region + 1], polygons.num_polygons);
    for (int64_t q = first; q < last; ++q) {
      const int64_t start = clamp_offset(polygons.polygon_starts[q], polygons.num_vertices);
      const int64_t end = clamp_offset(polygons.polygon_starts[q + 1], polygons.num_vertices);
      toggle_edges(polygons.coords + 2 * start, end - start, frame, size, toggles);
      __syncthreads();
      fill_inside(toggles, mask, words);
    }
  }
  uint8_t* out = masks + int64_t(blockIdx.x) * pixels;
  for (int i = threadIdx.x; i < pixels; i += kThreads) {
    const int pixel = i % size * size + i / size;
    out[i] = mask[pixel / kWordBits] >> pixel % kWordBits & 1u;
  }
}

}  // namespace maskrcnn_benchmark::cuda

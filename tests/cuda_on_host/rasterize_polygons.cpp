// The launch of csrc/cuda/rasterize_polygons.cu, on the host.
//   coords, polygon_starts, instance_starts, instance, boxes -> masks [R, size, size]
// Number: size.

#include "cuda/rasterize_polygons_kernels.cuh"
#include "program.h"

using namespace maskrcnn_benchmark;
using namespace maskrcnn_benchmark::cuda;

namespace maskrcnn_benchmark::cuda {
thread_local uint32_t shared[cuda_on_host::kSharedBytes / sizeof(uint32_t)];
}

int main(int count, char** words) {
  const Program program(count, words);
  const int size = int(program.numbers[0]);
  const auto coords = program.read<float>("coords"), boxes = program.read<float>("boxes");
  const auto polygon_starts = program.read<int32_t>("polygon_starts");
  const auto instance_starts = program.read<int32_t>("instance_starts");
  const auto instance = program.read<int64_t>("instance");
  auto masks = garbage<uint8_t>(instance.size() * size * size);
  const Polygons polygons{coords.data(),
                          polygon_starts.data(),
                          instance_starts.data(),
                          int64_t(polygon_starts.size()) - 1,
                          int64_t(instance_starts.size()) - 1,
                          int64_t(coords.size()) / 2};
  cuda_on_host::dynamic_shared = reinterpret_cast<char*>(shared);
  cuda_on_host::launch(unsigned(instance.size()), kThreads, shared_bytes(size), rasterize_kernel, polygons,
                       instance.data(), boxes.data(), size, masks.data());
  program.write("masks", masks);
}

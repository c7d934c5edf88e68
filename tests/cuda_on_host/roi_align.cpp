// The launches of csrc/cuda/roi_align.cu, on the host.
//   forward:   maps 0, 1, ..., rois -> pooled
//   backward:  grad, rois -> sums 0, 1, ... (float32, or float64 of float64)
// Numbers: type (0 float32, 1 float64, 2 bfloat16, 3 float16), backward, maps are channels_last, pooled or
// grad is channels_last, elements that the maps lie beyond an aligned address, N, C, bins high, bins wide,
// sampling ratio, and height and width of every level. The scales are a file of their own.

#include "cuda/roi_align_kernels.cuh"
#include "program.h"

using namespace maskrcnn_benchmark;
using namespace maskrcnn_benchmark::cuda;
using cuda_on_host::launch;

namespace {

struct Call {
  const Program& program;
  Pyramid pyramid;
  bool maps_last, bins_last;
  int64_t shift;

  int64_t map_size(int level) const {
    const LevelSize& size = pyramid.levels[level];
    return int64_t(pyramid.batch) * pyramid.channels * size.height * size.width;
  }

  int64_t roi_size() const { return int64_t(pyramid.pooled_h) * pyramid.pooled_w * pyramid.channels; }
};

Call read_call(const Program& program) {
  const std::vector<int64_t>& numbers = program.numbers;
  Call call{program, {}, numbers[2] != 0, numbers[3] != 0, numbers[4]};
  const std::vector<double> scales = program.read<double>("scales");
  Pyramid& pyramid = call.pyramid;
  pyramid.num_levels = int(scales.size());
  pyramid.finest = int(std::lround(-std::log2(scales[0])));
  pyramid.batch = int(numbers[5]);
  pyramid.channels = int(numbers[6]);
  pyramid.pooled_h = int(numbers[7]);
  pyramid.pooled_w = int(numbers[8]);
  pyramid.sampling_ratio = int(numbers[9]);
  for (int level = 0; level < pyramid.num_levels; ++level) {
    pyramid.levels[level] = {int(numbers[10 + 2 * level]), int(numbers[11 + 2 * level]), scales[level]};
  }
  return call;
}

template <typename T>
void forward(const Call& call) {
  using A = AccumulateT<T>;
  Maps<const T> maps{};
  std::vector<std::vector<T>> levels;
  for (int level = 0; level < call.pyramid.num_levels; ++level) {
    levels.push_back(call.program.read<T>(std::to_string(level)));
    levels.back().insert(levels.back().begin(), call.shift, T(0));
    levels.back().shrink_to_fit();
    set_map<const T>(maps, level, levels.back().data() + call.shift, call.pyramid, call.maps_last);
  }
  const auto rois = call.program.read<A>("rois");
  const int64_t num_rois = rois.size() / 5;
  auto pooled = garbage<T>(num_rois * call.roi_size());
  choose_kernel<T>(call.pyramid, maps, call.maps_last, [&](auto vector, auto last) {
    launch(launch_grid(call.pyramid, num_rois, vector()), kThreads, 0, forward_kernel<T, A, vector(), last()>,
           call.pyramid, maps, rois.data(), bin_layout(call.pyramid, call.bins_last), pooled.data());
  });
  call.program.write("pooled", pooled);
}

template <typename T>
void backward(const Call& call) {
  using A = AccumulateT<T>;
  Maps<A> maps{};
  std::vector<std::vector<A>> sums;
  for (int level = 0; level < call.pyramid.num_levels; ++level) {
    sums.emplace_back(call.map_size(level));
    set_map(maps, level, sums.back().data(), call.pyramid, call.maps_last);
  }
  const auto rois = call.program.read<A>("rois");
  const auto grad = call.program.read<T>("grad");
  choose_kernel<T>(call.pyramid, maps, call.maps_last, [&](auto vector, auto last) {
    launch(launch_grid(call.pyramid, rois.size() / 5, vector()), kThreads, 0,
           backward_kernel<T, A, vector(), last()>, call.pyramid, maps, rois.data(),
           bin_layout(call.pyramid, call.bins_last), grad.data());
  });
  for (int level = 0; level < call.pyramid.num_levels; ++level) {
    call.program.write(std::to_string(level), sums[level]);
  }
}

template <typename T>
void run(const Call& call) {
  if (call.program.numbers[1]) {
    backward<T>(call);
  } else {
    forward<T>(call);
  }
}

}  // namespace

int main(int count, char** words) {
  const Program program(count, words);
  const Call call = read_call(program);
  switch (program.numbers[0]) {
    case 0:
      run<float>(call);
      break;
    case 1:
      run<double>(call);
      break;
    case 2:
      run<torch::headeronly::BFloat16>(call);
      break;
    default:
      run<torch::headeronly::Half>(call);
  }
}

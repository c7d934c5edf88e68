#pragma once

#include <torch/csrc/stable/ops.h>

#include <atomic>
#include <cstdint>

namespace maskrcnn_benchmark::cpu {

// Runs task(i, buffers) for i = 0 .. count-1 on torch's threads; a thread takes the next task when it has
// finished one, so uneven tasks balance. Each thread has one Buffers for all of its tasks. Which thread runs
// a task must not matter to its result.
template <typename Buffers, typename Task>
void parallel_tasks(int64_t count, const Task& task) {
  std::atomic<int64_t> next{0};
  const int64_t threads = torch::stable::get_num_threads();
  const auto work = [&](int64_t, int64_t) {
    Buffers buffers;
    for (int64_t i = next++; i < count; i = next++) {
      task(i, buffers);
    }
  };
  if (count > 0) {
    torch::stable::parallel_for(0, threads < count ? threads : count, 1, work);
  }
}

}  // namespace maskrcnn_benchmark::cpu

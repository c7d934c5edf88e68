// The launches of csrc/cuda/match_boxes.cu, on the host.
//   boxes, gt_boxes, gt_valid, thresholds (high, low) -> matches [images, A]
// Numbers: images, A, G, whether all images share the boxes, whether best boxes are restored.

#include "cuda/match_boxes_kernels.cuh"
#include "program.h"

using namespace maskrcnn_benchmark;
using namespace maskrcnn_benchmark::cuda;
using cuda_on_host::launch;

int main(int count, char** words) {
  const Program program(count, words);
  const int64_t images = program.numbers[0], num_boxes = program.numbers[1], num_gt = program.numbers[2];
  const bool shared_boxes = program.numbers[3] != 0, restore = program.numbers[4] != 0;
  const auto boxes = program.read<float>("boxes"), gt_boxes = program.read<float>("gt_boxes");
  const auto valid = program.read<uint8_t>("gt_valid");
  const auto thresholds = program.read<float>("thresholds");

  const MatchProblem problem{boxes.data(), gt_boxes.data(), reinterpret_cast<const bool*>(valid.data()),
                             num_boxes,    num_gt,          shared_boxes};
  const dim3 grid{blocks_for(num_boxes), unsigned(images)};
  std::vector<float> highest(images * num_gt, kNoOverlap);
  if (restore) {
    launch(grid, kThreads, 0, highest_kernel, problem, highest.data());
  }
  auto matches = garbage<int64_t>(images * num_boxes);
  launch(grid, kThreads, 0, match_kernel, problem, MatchRule{thresholds[0], thresholds[1]},
         restore ? highest.data() : nullptr, matches.data());
  program.write("matches", matches);
}

// The launches of csrc/cuda/nms.cu, on the host.
//   boxes, scores, groups and valid (both may be empty: null)
//   -> index [images, max_output], num_kept [images], keep [images, max_output]
// Numbers: images, boxes an image, max_output, rows of a range (0: as many as nms.cu takes). The threshold is
// a file of its own.

#include <numeric>

#include "cuda/nms_kernels.cuh"
#include "program.h"

using namespace maskrcnn_benchmark;
using namespace maskrcnn_benchmark::cuda;
using cuda_on_host::launch;

namespace {

// Every image's keys in descending order, equal ones as they came, and where each came from.
void sort_descending(std::vector<int32_t>& keys, std::vector<int64_t>& order, int64_t boxes_per_image) {
  for (size_t start = 0; start < keys.size(); start += boxes_per_image) {
    const auto first = order.begin() + start, last = first + boxes_per_image;
    const int32_t* of_image = keys.data() + start;
    std::iota(first, last, 0);
    std::stable_sort(first, last, [&](int64_t a, int64_t b) { return of_image[a] > of_image[b]; });
    std::vector<int32_t> sorted;
    for (auto entry = first; entry != last; ++entry) {
      sorted.push_back(of_image[*entry]);
    }
    std::copy(sorted.begin(), sorted.end(), keys.begin() + start);
  }
}

}  // namespace

int main(int count, char** words) {
  const Program program(count, words);
  const int64_t images = program.numbers[0], boxes_per_image = program.numbers[1];
  const int64_t max_output = program.numbers[2], n = images * boxes_per_image;
  const auto boxes = program.read<float>("boxes"), scores = program.read<float>("scores");
  const auto groups = program.read<int64_t>("groups");
  const auto valid = program.read<uint8_t>("valid");
  const double threshold = program.read<double>("threshold")[0];
  const bool batched = !valid.empty();

  std::vector<int32_t> keys = garbage<int32_t>(n);
  launch(blocks_for(n), kThreads, 0, key_kernel, boxes.data(), scores.data(),
         batched ? reinterpret_cast<const bool*>(valid.data()) : nullptr, n, keys.data());
  std::vector<int64_t> order(n);
  sort_descending(keys, order, boxes_per_image);

  auto ranked = garbage<RankedBox>(n);
  auto ranked_groups = garbage<int64_t>(batched ? n : 0);
  auto counts = garbage<int32_t>(images);
  launch(blocks_for(n), kThreads, 0, rank_kernel, boxes.data(), batched ? groups.data() : nullptr,
         keys.data(), order.data(), n, boxes_per_image, ranked.data(),
         batched ? ranked_groups.data() : nullptr, counts.data());

  const int64_t tiles = (boxes_per_image + kTile - 1) / kTile;
  const int64_t num_rows = program.numbers[3] ? program.numbers[3] : rows_of_range(images, tiles);
  std::vector<int64_t> index(images * max_output);
  std::vector<int32_t> num_kept(images);
  std::vector<uint64_t> removed(images * tiles);
  auto overlap = garbage<uint64_t>(images * num_rows * tiles);
  const NmsState state{ranked.data(),   batched ? ranked_groups.data() : nullptr,
                       counts.data(),   removed.data(),
                       num_kept.data(), boxes_per_image,
                       tiles,           max_output};
  const dim3 grid(unsigned(tiles), unsigned(num_rows / kTile), unsigned(images));
  for (int64_t row = 0; row < boxes_per_image; row += num_rows) {
    launch(grid, kTile, 0, overlap_kernel, state, NmsThreshold<float>(threshold), row, num_rows,
           overlap.data());
    launch(unsigned(images), kThreads, 0, sweep_kernel, state, order.data(), row, num_rows, overlap.data(),
           index.data());
  }
  auto keep = garbage<uint8_t>(images * max_output);
  launch(blocks_for(images * max_output), kThreads, 0, keep_kernel, num_kept.data(), images * max_output,
         max_output, reinterpret_cast<bool*>(keep.data()));
  program.write("index", index);
  program.write("num_kept", num_kept);
  program.write("keep", keep);
}

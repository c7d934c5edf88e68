// Greedy non-maximum suppression on the CPU.
//
// Boxes are walked in order of descending score. The ones that stay are kept in blocks of 16 lanes
// (one array per coordinate), and each further box is compared with whole blocks until one suppresses
// it. A suppressed box is therefore never touched again, the kept blocks stay in the first-level cache,
// and the walk ends as soon as enough boxes are kept.

#include "cpu/nms_kernel.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/radix_sort.h"
#include "simd.h"

namespace maskrcnn_benchmark::cpu {
namespace {

constexpr int kLanes = 16;

// A box with exclusive far corners (x2 + 1, y2 + 1), as the pixel-counting convention measures it.
template <typename T>
struct Box {
  T x1, y1, x2, y2, area;
};

template <typename T>
Box<T> load_box(const T* box) {
  const T x2 = box[2] + T(1), y2 = box[3] + T(1);
  return {box[0], box[1], x2, y2, (x2 - box[0]) * (y2 - box[1])};
}

// Sixteen kept boxes. An unused lane overlaps nothing: its corners are the wrong way round.
template <typename T>
struct alignas(64) Block {
  T x1[kLanes], y1[kLanes], x2[kLanes], y2[kLanes], area[kLanes];

  Block() {
    constexpr T kInf = std::numeric_limits<T>::infinity();
    std::fill_n(x1, kLanes, kInf);
    std::fill_n(y1, kLanes, kInf);
    std::fill_n(x2, kLanes, -kInf);
    std::fill_n(y2, kLanes, -kInf);
    std::fill_n(area, kLanes, kInf);
  }

  void set(int lane, const Box<T>& box) {
    x1[lane] = box.x1;
    y1[lane] = box.y1;
    x2[lane] = box.x2;
    y2[lane] = box.y2;
    area[lane] = box.area;
  }
};

template <typename T>
MASKRCNN_INLINE T intersection(const Box<T>& box, const Block<T>& block, int lane) {
  const T left = box.x1 > block.x1[lane] ? box.x1 : block.x1[lane];
  const T top = box.y1 > block.y1[lane] ? box.y1 : block.y1[lane];
  const T right = box.x2 < block.x2[lane] ? box.x2 : block.x2[lane];
  const T bottom = box.y2 < block.y2[lane] ? box.y2 : block.y2[lane];
  const T width = right - left > T(0) ? right - left : T(0);
  const T height = bottom - top > T(0) ? bottom - top : T(0);
  return width * height;
}

// Whether any box of the blocks overlaps `box` by more than the threshold: inter / union > threshold,
// with the quotient rounded to T as torchvision rounds it. A quotient that is NaN suppresses nothing.
//
// The division is only carried out for lanes that inter >= bound * union lets through, bound being a
// little under the threshold. No lane is lost: quotient > threshold implies inter > bound * union
// exactly, and rounding the right-hand side cannot lift it over inter.
template <typename T>
MASKRCNN_INLINE bool overlaps_any(const Box<T>& box, const Block<T>* blocks, int64_t num_blocks,
                                  double threshold) {
  const T bound = T(threshold * (1 - 1e-5));
  for (int64_t b = 0; b < num_blocks; ++b) {
    const Block<T>& block = blocks[b];
    int close = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      const T inter = intersection(box, block, lane);
      close |= inter >= bound * (box.area + block.area[lane] - inter);
    }
    if (!close) {
      continue;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      const T inter = intersection(box, block, lane);
      const T iou = inter / (box.area + block.area[lane] - inter);
      if (iou > threshold) {
        return true;
      }
    }
  }
  return false;
}

// Walks boxes in the order given; sets kept[i] for those that stay, at most max_kept of them.
template <typename T>
MASKRCNN_INLINE void suppress(const std::vector<Box<T>>& boxes, double threshold, int64_t max_kept,
                              std::vector<Block<T>>& blocks, char* kept) {
  int64_t num_kept = 0;
  blocks.clear();
  for (size_t i = 0; i < boxes.size() && num_kept < max_kept; ++i) {
    if (overlaps_any(boxes[i], blocks.data(), int64_t(blocks.size()), threshold)) {
      continue;
    }
    if (num_kept % kLanes == 0) {
      blocks.emplace_back();
    }
    blocks.back().set(int(num_kept % kLanes), boxes[i]);
    kept[i] = 1;
    ++num_kept;
  }
}

MASKRCNN_MULTIVERSION void suppress_ordered(const std::vector<Box<float>>& boxes, double threshold,
                                            int64_t max_kept, std::vector<Block<float>>& blocks, char* kept) {
  suppress(boxes, threshold, max_kept, blocks, kept);
}

MASKRCNN_MULTIVERSION void suppress_ordered(const std::vector<Box<double>>& boxes, double threshold,
                                            int64_t max_kept, std::vector<Block<double>>& blocks,
                                            char* kept) {
  suppress(boxes, threshold, max_kept, blocks, kept);
}

// The boxes of one group of one image: positions [begin, end) of the image's grouped order.
struct Segment {
  int64_t image, begin, end;
};

// What is known of one image between the steps. A rank is a place in the order of descending score.
struct ImageState {
  std::vector<int32_t> by_score;  // rank -> box index
  std::vector<int32_t> grouped;   // ranks, gathered by group, ascending inside a group
  std::vector<int64_t> starts;    // where each group starts in `grouped`, and its end
  std::vector<char> kept;         // per place in `grouped`
};

template <typename T>
bool takes_part(const NmsBatch<T>& batch, int64_t at) {
  const T* box = batch.boxes + 4 * at;
  const bool has_nan = std::isnan(box[0]) || std::isnan(box[1]) || std::isnan(box[2]) ||
                       std::isnan(box[3]) || std::isnan(batch.scores[at]);
  return (batch.valid == nullptr || batch.valid[at]) && !has_nan;
}

template <typename T>
ImageState order_image(const NmsBatch<T>& batch, int64_t image) {
  const int64_t first = image * batch.boxes_per_image;
  std::vector<Keyed<decltype(descending_key(T()))>> by_score;
  for (int64_t k = 0; k < batch.boxes_per_image; ++k) {
    if (takes_part(batch, first + k)) {
      by_score.push_back({descending_key(batch.scores[first + k]), int32_t(k)});
    }
  }
  radix_sort(by_score);

  ImageState state;
  const int32_t count = int32_t(by_score.size());
  std::vector<Keyed<uint64_t>> by_group(count);
  for (int32_t rank = 0; rank < count; ++rank) {
    state.by_score.push_back(by_score[rank].item);
    const int64_t group = batch.groups ? batch.groups[first + by_score[rank].item] : 0;
    by_group[rank] = {ascending_key(group), rank};
  }
  radix_sort(by_group);
  for (int32_t place = 0; place < count; ++place) {
    if (place == 0 || by_group[place].key != by_group[place - 1].key) {
      state.starts.push_back(place);
    }
    state.grouped.push_back(by_group[place].item);
  }
  state.starts.push_back(count);
  state.kept.assign(count, 0);
  return state;
}

template <typename T>
void suppress_segment(const NmsBatch<T>& batch, const Segment& segment, double threshold, int64_t max_kept,
                      ImageState& state) {
  std::vector<Box<T>> boxes;
  std::vector<Block<T>> blocks;
  boxes.reserve(segment.end - segment.begin);
  const int64_t first = segment.image * batch.boxes_per_image;
  for (int64_t place = segment.begin; place < segment.end; ++place) {
    boxes.push_back(load_box(batch.boxes + 4 * (first + state.by_score[state.grouped[place]])));
  }
  suppress_ordered(boxes, threshold, max_kept, blocks, state.kept.data() + segment.begin);
}

// Back to the order of score: the first max_output ranks that were kept.
int64_t write_kept(const ImageState& state, int64_t max_output, int64_t* index) {
  std::vector<char> kept_by_rank(state.kept.size());
  for (size_t place = 0; place < state.kept.size(); ++place) {
    kept_by_rank[state.grouped[place]] = state.kept[place];
  }
  int64_t count = 0;
  for (size_t rank = 0; rank < kept_by_rank.size() && count < max_output; ++rank) {
    if (kept_by_rank[rank]) {
      index[count++] = state.by_score[rank];
    }
  }
  return count;
}

}  // namespace

template <typename T>
void suppress_batch(const NmsBatch<T>& batch, double threshold, int64_t max_output, int64_t* index,
                    int64_t* counts) {
  std::vector<ImageState> states(batch.images);
  torch::stable::parallel_for(0, batch.images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      states[image] = order_image(batch, image);
    }
  });

  std::vector<Segment> segments;
  for (int64_t image = 0; image < batch.images; ++image) {
    const std::vector<int64_t>& starts = states[image].starts;
    for (size_t g = 0; g + 1 < starts.size(); ++g) {
      segments.push_back({image, starts[g], starts[g + 1]});
    }
  }
  // Each group may keep max_output boxes, since all of an image's best may be of that group.
  torch::stable::parallel_for(0, int64_t(segments.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      suppress_segment(batch, segments[s], threshold, max_output, states[segments[s].image]);
    }
  });

  torch::stable::parallel_for(0, batch.images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      counts[image] = write_kept(states[image], max_output, index + image * max_output);
    }
  });
}

template void suppress_batch<float>(const NmsBatch<float>&, double, int64_t, int64_t*, int64_t*);
template void suppress_batch<double>(const NmsBatch<double>&, double, int64_t, int64_t*, int64_t*);

}  // namespace maskrcnn_benchmark::cpu

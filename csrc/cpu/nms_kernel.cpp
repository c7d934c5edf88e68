// NMS of a batch on the CPU: orders each image's boxes by score, walks each group of
// each image (nms_walk.cpp), and puts what stays back into the order of score.

#include "cpu/nms_kernel.h"

#include <torch/csrc/stable/ops.h>

#include <vector>

#include "cpu/nms_walk.h"
#include "cpu/radix_sort.h"

namespace maskrcnn_benchmark::cpu {
namespace {

// The boxes of one group of one image: places [begin, end) of the image's grouped order.
struct Segment {
  int64_t image, begin, end;
};

// What is known of one image between the steps. A rank is a place in the order of descending score.
struct ImageState {
  std::vector<int32_t> by_score;  // rank -> box
  std::vector<int32_t> rank;      // place -> rank: by group, in a group by rank; empty with one group
  std::vector<int32_t> by_group;  // place -> box; empty with one group
  std::vector<int64_t> starts;    // the place at which each group starts, then the number of places
  std::vector<char> kept;         // per place

  const std::vector<int32_t>& order() const { return by_group.empty() ? by_score : by_group; }
};

// A box with a NaN among its coordinates or for a score takes no part.
template <typename T>
bool has_nan(const T* box, T score) {
  return (box[0] != box[0]) | (box[1] != box[1]) | (box[2] != box[2]) | (box[3] != box[3]) | (score != score);
}

template <typename T>
void order_by_score(const NmsBatch<T>& batch, int64_t first, ImageState& state) {
  std::vector<Keyed<decltype(descending_key(T()))>> keyed(batch.boxes_per_image);
  size_t count = 0;
  for (int64_t k = 0; k < batch.boxes_per_image; ++k) {
    const T score = batch.scores[first + k];
    keyed[count] = {descending_key(score), int32_t(k)};
    count +=
        (batch.valid == nullptr || batch.valid[first + k]) && !has_nan(batch.boxes + 4 * (first + k), score);
  }
  keyed.resize(count);
  radix_sort(keyed);
  state.by_score.resize(count);
  for (size_t rank = 0; rank < count; ++rank) {
    state.by_score[rank] = keyed[rank].item;
  }
}

void order_by_group(const int64_t* groups, ImageState& state) {
  const int32_t count = int32_t(state.by_score.size());
  std::vector<Keyed<uint64_t>> keyed(count);
  for (int32_t rank = 0; rank < count; ++rank) {
    keyed[rank] = {ascending_key(groups[state.by_score[rank]]), rank};
  }
  radix_sort(keyed);
  state.rank.resize(count);
  state.by_group.resize(count);
  for (int32_t place = 0; place < count; ++place) {
    state.rank[place] = keyed[place].item;
    state.by_group[place] = state.by_score[keyed[place].item];
    if (place == 0 || keyed[place].key != keyed[place - 1].key) {
      state.starts.push_back(place);
    }
  }
}

template <typename T>
ImageState order_image(const NmsBatch<T>& batch, int64_t image) {
  ImageState state;
  const int64_t first = image * batch.boxes_per_image;
  order_by_score(batch, first, state);
  if (batch.groups != nullptr) {
    order_by_group(batch.groups + first, state);
  } else {
    state.starts.push_back(0);
  }
  state.starts.push_back(int64_t(state.by_score.size()));
  state.kept.assign(state.by_score.size(), 0);
  return state;
}

// Writes the first max_output boxes that were kept, in the order of rank.
int64_t write_kept(const ImageState& state, int64_t max_output, int64_t* index) {
  std::vector<char> by_rank;
  if (!state.rank.empty()) {
    by_rank.resize(state.kept.size());
    for (size_t place = 0; place < state.kept.size(); ++place) {
      by_rank[state.rank[place]] = state.kept[place];
    }
  }
  const std::vector<char>& kept = by_rank.empty() ? state.kept : by_rank;
  int64_t count = 0;
  for (size_t rank = 0; rank < kept.size() && count < max_output; ++rank) {
    if (kept[rank]) {
      index[count++] = state.by_score[rank];
    }
  }
  return count;
}

// f(i) for i in [0, n), spread over torch's threads.
template <typename F>
void for_each(int64_t n, const F& f) {
  torch::stable::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      f(i);
    }
  });
}

}  // namespace

template <typename T>
void suppress_batch(const NmsBatch<T>& batch, double threshold, int64_t max_output, int64_t* index,
                    int64_t* counts) {
  std::vector<ImageState> states(batch.images);
  for_each(batch.images, [&](int64_t image) { states[image] = order_image(batch, image); });

  std::vector<Segment> segments;
  for (int64_t image = 0; image < batch.images; ++image) {
    const std::vector<int64_t>& starts = states[image].starts;
    for (size_t g = 0; g + 1 < starts.size(); ++g) {
      segments.push_back({image, starts[g], starts[g + 1]});
    }
  }
  // A group may keep up to max_output boxes, since all of an image's best may be of that group.
  for_each(int64_t(segments.size()), [&](int64_t s) {
    const Segment& segment = segments[s];
    ImageState& state = states[segment.image];
    suppress_ordered(batch.boxes + 4 * segment.image * batch.boxes_per_image,
                     state.order().data() + segment.begin, segment.end - segment.begin, threshold, max_output,
                     state.kept.data() + segment.begin);
  });

  for_each(batch.images, [&](int64_t image) {
    counts[image] = write_kept(states[image], max_output, index + image * max_output);
  });
}

template void suppress_batch<float>(const NmsBatch<float>&, double, int64_t, int64_t*, int64_t*);
template void suppress_batch<double>(const NmsBatch<double>&, double, int64_t, int64_t*, int64_t*);

}  // namespace maskrcnn_benchmark::cpu

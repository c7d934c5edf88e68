// The inner loops of NMS on the CPU.
//
// Boxes are walked best first. Those that stay are held in blocks of 32 lanes, one array per coordinate,
// and a further box is compared with whole blocks until one removes it: a removed box is never
// looked at again, the kept blocks stay in the fastest cache, and the walk ends when enough boxes stay.
//
// Detections come in clusters, so most boxes fall to a kept box that has already removed one at the
// same place. The walk therefore takes 32 boxes at a time and first compares each with the one kept box
// remembered for its place, all lanes at once; only the boxes that get past this look at the blocks. The
// memory decides which kept boxes are tried first, never the result.

#include "cpu/nms_walk.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "nms_threshold.h"
#include "simd.h"

namespace maskrcnn_benchmark::cpu {
namespace {

constexpr int kLanes = 32;

// A box with exclusive far corners (x2 + 1, y2 + 1), as the pixel-counting convention measures it.
template <typename T>
struct Box {
  T x1, y1, x2, y2, area;
};

template <typename T>
MASKRCNN_INLINE Box<T> load_box(const T* box) {
  const T x2 = box[2] + T(1), y2 = box[3] + T(1);
  return {box[0], box[1], x2, y2, (x2 - box[0]) * (y2 - box[1])};
}

template <typename T>
struct alignas(64) Block {
  T x1[kLanes], y1[kLanes], x2[kLanes], y2[kLanes], area[kLanes];

  MASKRCNN_INLINE void set(int lane, const Box<T>& box) {
    x1[lane] = box.x1;
    y1[lane] = box.y1;
    x2[lane] = box.x2;
    y2[lane] = box.y2;
    area[lane] = box.area;
  }

  MASKRCNN_INLINE Box<T> get(int lane) const { return {x1[lane], y1[lane], x2[lane], y2[lane], area[lane]}; }
};

// A block whose lanes overlap nothing: their corners are the wrong way round.
template <typename T>
MASKRCNN_INLINE void append_empty_block(std::vector<Block<T>>& blocks) {
  constexpr T kInf = std::numeric_limits<T>::infinity();
  blocks.emplace_back();
  for (int lane = 0; lane < kLanes; ++lane) {
    blocks.back().set(lane, {kInf, kInf, -kInf, -kInf, kInf});
  }
}

template <typename T>
MASKRCNN_INLINE T intersection(const Box<T>& a, const Box<T>& b) {
  const T left = a.x1 > b.x1 ? a.x1 : b.x1;
  const T top = a.y1 > b.y1 ? a.y1 : b.y1;
  const T right = a.x2 < b.x2 ? a.x2 : b.x2;
  const T bottom = a.y2 < b.y2 ? a.y2 : b.y2;
  const T width = right - left > T(0) ? right - left : T(0);
  const T height = bottom - top > T(0) ? bottom - top : T(0);
  return width * height;
}

template <typename T>
MASKRCNN_INLINE bool may_be_over(const Box<T>& a, const Box<T>& b, const NmsThreshold<T>& threshold) {
  const T inter = intersection(a, b);
  return inter >= threshold.bound * (a.area + b.area - inter);
}

template <typename T>
MASKRCNN_INLINE bool over(const Box<T>& a, const Box<T>& b, const NmsThreshold<T>& threshold) {
  const T inter = intersection(a, b);
  return inter / (a.area + b.area - inter) > threshold.limit;
}

// The first lane of the block that overlaps the box by more than the threshold, or -1.
template <typename T>
MASKRCNN_INLINE int find_over(const Box<T>& box, const Block<T>& block, const NmsThreshold<T>& threshold) {
  int any = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    any |= may_be_over(box, block.get(lane), threshold);
  }
  if (!any) {
    return -1;
  }
  int32_t found[kLanes];
  any = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    found[lane] = over(box, block.get(lane), threshold);
    any |= found[lane];
  }
  return any ? int(std::find(found, found + kLanes, 1) - found) : -1;
}

// For every place on the image (squares of 16 pixels, wrapped around after 64 of them) the kept box that
// last stayed or removed a box there, by its number.
class Memory {
 public:
  template <typename T>
  MASKRCNN_INLINE static int place(const Box<T>& box) {
    return square(box.y1 + box.y2) * kSide + square(box.x1 + box.x2);
  }

  int32_t kept[64 * 64] = {};

 private:
  static constexpr int kSide = 64;

  template <typename T>
  MASKRCNN_INLINE static int square(T twice_centre) {
    const T at = twice_centre * T(0.5 / 16);
    const T in_range = at > T(-1e6) && at < T(1e6) ? at : T(0);
    return int(in_range) & (kSide - 1);
  }
};

template <typename T>
class Walk {
 public:
  explicit Walk(double threshold) : threshold_(threshold) { append_empty_block(blocks_); }

  int64_t num_kept() const { return num_kept_; }

  // Takes the next n <= 32 boxes; returns a bit for each one that stays.
  MASKRCNN_INLINE uint32_t take(const T* boxes, const int32_t* order, int n) {
    alignas(64) Block<T> batch, remembered;
    alignas(64) int32_t place[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      batch.set(lane, load_box(boxes + 4 * int64_t(order[std::min(lane, n - 1)])));
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      place[lane] = Memory::place(batch.get(lane));
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      const int32_t kept = memory_.kept[place[lane]];
      remembered.set(lane, blocks_[kept / kLanes].get(kept % kLanes));
    }
    int32_t suppressed[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      suppressed[lane] = over(batch.get(lane), remembered.get(lane), threshold_);
    }
    uint32_t stays = 0;
    for (int lane = 0; lane < n; ++lane) {
      if (!suppressed[lane]) {
        stays |= uint32_t(look_through(batch.get(lane), memory_.kept[place[lane]])) << lane;
      }
    }
    return stays;
  }

 private:
  // Compares the box with every kept one, the block of `memory` first; keeps it if none removes it.
  MASKRCNN_INLINE bool look_through(const Box<T>& box, int32_t& memory) {
    const int32_t num_blocks = int32_t(blocks_.size()), first = memory / kLanes;
    int32_t block = first;
    int lane = find_over(box, blocks_[block], threshold_);
    for (int32_t b = 0; lane < 0 && b < num_blocks; ++b) {
      block = b;
      lane = find_over(box, blocks_[block], threshold_);
    }
    if (lane >= 0) {
      memory = block * kLanes + lane;
      return false;
    }
    if (num_kept_ == int64_t(num_blocks) * kLanes) {
      append_empty_block(blocks_);
    }
    memory = int32_t(num_kept_);
    blocks_[num_kept_ / kLanes].set(int(num_kept_ % kLanes), box);
    ++num_kept_;
    return true;
  }

  NmsThreshold<T> threshold_;
  Memory memory_;
  std::vector<Block<T>> blocks_;
  int64_t num_kept_ = 0;
};

template <typename T>
MASKRCNN_INLINE void walk(const T* boxes, const int32_t* order, int64_t count, double threshold,
                          int64_t max_kept, char* kept) {
  Walk<T> state(threshold);
  for (int64_t begin = 0; begin < count && state.num_kept() < max_kept; begin += kLanes) {
    const int n = int(std::min<int64_t>(kLanes, count - begin));
    const uint32_t stays = state.take(boxes, order + begin, n);
    for (int lane = 0; lane < n; ++lane) {
      kept[begin + lane] = (stays >> lane) & 1;
    }
  }
}

}  // namespace

MASKRCNN_MULTIVERSION void suppress_ordered(const float* boxes, const int32_t* order, int64_t count,
                                            double threshold, int64_t max_kept, char* kept) {
  walk(boxes, order, count, threshold, max_kept, kept);
}

MASKRCNN_MULTIVERSION void suppress_ordered(const double* boxes, const int32_t* order, int64_t count,
                                            double threshold, int64_t max_kept, char* kept) {
  walk(boxes, order, count, threshold, max_kept, kept);
}

}  // namespace maskrcnn_benchmark::cpu

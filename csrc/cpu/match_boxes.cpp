// Matching of boxes to ground truth on the CPU, and its binding to the dispatcher.
//
// Boxes are taken in blocks of 64 lanes, an array for each coordinate, and a block is compared with one
// ground truth after another; nothing that is as large as boxes times ground truths is ever stored. Where
// best boxes are restored (low-quality matches) a first pass finds the largest overlap of each ground truth.
//
// Neighbouring anchors lie close together, so most ground truths of a crowded image lie apart from all boxes
// of a block: two comparisons with the box around the block settle these.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <vector>

#include "cpu/parallel.h"
#include "match_checks.h"
#include "simd.h"

namespace maskrcnn_benchmark::cpu {
namespace {

constexpr int kLanes = 64;
constexpr int64_t kBoxesPerTask = 4 * kLanes;

// One that is valid.
struct GroundTruth {
  MeasuredBox box;
  int32_t slot;
  int32_t highest;  // bits of its largest overlap, which order as the numbers do
};

// What a thread needs: some boxes of an image, and what is known of them.
struct alignas(64) Block {
  float x1[kLanes], y1[kLanes], x2[kLanes], y2[kLanes], area[kLanes];
  float largest[kLanes];    // overlap so far
  int32_t best_gt[kLanes];  // the slot that has it
  int32_t is_best[kLanes];  // whether the largest overlap of some ground truth is with this box
  MeasuredBox around;       // the smallest box around all of them (its area is not used)

  // Takes 1 to 64 boxes; the lanes that are left over repeat the last one.
  MASKRCNN_INLINE void load(const float* boxes, int64_t count) {
    around = measure_box(boxes);
    for (int lane = 0; lane < kLanes; ++lane) {
      const MeasuredBox box = measure_box(boxes + 4 * std::min<int64_t>(lane, count - 1));
      x1[lane] = box.x1;
      y1[lane] = box.y1;
      x2[lane] = box.x2;
      y2[lane] = box.y2;
      area[lane] = box.area;
      around.x1 = std::min(around.x1, box.x1);
      around.y1 = std::min(around.y1, box.y1);
      around.x2 = std::max(around.x2, box.x2);
      around.y2 = std::max(around.y2, box.y2);
    }
    std::fill_n(largest, kLanes, kNoOverlap);
    std::fill_n(best_gt, kLanes, 0);
    std::fill_n(is_best, kLanes, 0);
  }

  MASKRCNN_INLINE float overlap(int lane, const MeasuredBox& box) const {
    return overlap_of({x1[lane], y1[lane], x2[lane], y2[lane], area[lane]}, box);
  }

  // Whether the overlap of every lane with it is 0 or NaN: none has a longer side in common with it than
  // `around` has.
  MASKRCNN_INLINE bool apart(const MeasuredBox& box) const {
    return common_side(around.x1, around.x2, box.x1, box.x2) == 0.0f ||
           common_side(around.y1, around.y2, box.y1, box.y2) == 0.0f;
  }

  MASKRCNN_INLINE bool has_overlaps() const {
    return std::all_of(largest, largest + kLanes, [](float overlap) { return overlap >= 0.0f; });
  }
};

// Other threads raise it too. Which one comes first does not matter.
MASKRCNN_INLINE void raise(int32_t& highest, int32_t bits) {
  const std::atomic_ref<int32_t> shared(highest);
  int32_t known = shared.load(std::memory_order_relaxed);
  while (bits > known && !shared.compare_exchange_weak(known, bits, std::memory_order_relaxed)) {
  }
}

// The largest overlap of any lane with the box, as bits. NaN is no overlap; adding 0 makes 0 of -0.
MASKRCNN_INLINE int32_t largest_overlap(const Block& block, const MeasuredBox& box) {
  alignas(64) float overlaps[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const float overlap = block.overlap(lane, box) + 0.0f;
    overlaps[lane] = overlap > kNoOverlap ? overlap : kNoOverlap;
  }
  int32_t largest = std::bit_cast<int32_t>(kNoOverlap);
  for (int lane = 0; lane < kLanes; ++lane) {
    largest = std::max(largest, std::bit_cast<int32_t>(overlaps[lane]));
  }
  return largest;
}

// Raises the largest overlap of each ground truth to the largest with the block. (One whose overlaps are all
// NaN may get a 0, which none of them equals.)
MASKRCNN_MULTIVERSION void raise_highest(const Block& block, GroundTruth* gts, int64_t count) {
  for (int64_t g = 0; g < count; ++g) {
    raise(gts[g].highest, block.apart(gts[g].box) ? 0 : largest_overlap(block, gts[g].box));
  }
}

// Compares the block with all ground truths, in the order of their slots: of equal overlaps the first stays.
MASKRCNN_MULTIVERSION void compare(Block& block, const GroundTruth* gts, int64_t count) {
  bool settled = false;  // whether an overlap of 0 changes nothing any more
  for (int64_t g = 0; g < count; ++g) {
    const GroundTruth& gt = gts[g];
    if (settled && gt.highest != 0 && block.apart(gt.box)) {
      continue;
    }
    const MeasuredBox box = gt.box;
    const float highest = std::bit_cast<float>(gt.highest);
    const int32_t slot = gt.slot;
    for (int lane = 0; lane < kLanes; ++lane) {
      const float overlap = block.overlap(lane, box);
      const bool larger = overlap > block.largest[lane];
      block.largest[lane] = larger ? overlap : block.largest[lane];
      block.best_gt[lane] = larger ? slot : block.best_gt[lane];
      block.is_best[lane] |= overlap == highest;
    }
    settled = settled || block.has_overlaps();
  }
}

// The valid ground truths of all images; those of image n are starts[n] .. starts[n + 1] - 1.
struct GroundTruths {
  std::vector<GroundTruth> all;
  std::vector<int64_t> starts{0};

  GroundTruths(const float* boxes, const bool* valid, int64_t images, int64_t slots) {
    for (int64_t image = 0; image < images; ++image) {
      for (int64_t slot = 0; slot < slots; ++slot) {
        if (valid[image * slots + slot]) {
          const MeasuredBox box = measure_box(boxes + 4 * (image * slots + slot));
          all.push_back({box, int32_t(slot), std::bit_cast<int32_t>(kNoOverlap)});
        }
      }
      starts.push_back(int64_t(all.size()));
    }
  }
};

// visit(image, block, first, count) for all boxes of all images: `count` of an image's from its `first` on.
// image_stride: numbers from the boxes of an image to those of the next, 0 where all share them.
template <typename Visit>
void for_each_block(const float* boxes, int64_t images, int64_t per_image, int64_t image_stride,
                    const Visit& visit) {
  const int64_t tasks = (per_image + kBoxesPerTask - 1) / kBoxesPerTask;
  parallel_tasks<Block>(images * tasks, [&](int64_t task, Block& block) {
    const int64_t image = task / tasks, begin = task % tasks * kBoxesPerTask;
    const int64_t end = std::min(begin + kBoxesPerTask, per_image);
    for (int64_t first = begin; first < end; first += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, end - first);
      block.load(boxes + image * image_stride + 4 * first, count);
      visit(image, block, first, count);
    }
  });
}

Tensor match_boxes(const Tensor& boxes, const Tensor& gt_boxes, const Tensor& gt_valid, double high_threshold,
                   double low_threshold, bool allow_low_quality) {
  check_match_arguments(boxes, gt_boxes, gt_valid, high_threshold, low_threshold);
  const int64_t images = gt_boxes.size(0), per_image = boxes.size(boxes.dim() - 2);
  const Tensor dense_boxes = torch::stable::contiguous(boxes);
  const Tensor dense_gt_boxes = torch::stable::contiguous(gt_boxes);
  const Tensor dense_valid = torch::stable::contiguous(gt_valid);
  Tensor matches = torch::stable::new_empty(boxes, {images, per_image}, ScalarType::Long);

  GroundTruths gts(dense_gt_boxes.const_data_ptr<float>(), dense_valid.const_data_ptr<bool>(), images,
                   gt_boxes.size(1));
  const float* first_box = dense_boxes.const_data_ptr<float>();
  const int64_t image_stride = boxes.dim() == 3 ? 4 * per_image : 0;
  const auto count_of = [&](int64_t image) { return gts.starts[image + 1] - gts.starts[image]; };
  if (allow_low_quality) {
    for_each_block(first_box, images, per_image, image_stride,
                   [&](int64_t image, const Block& block, int64_t, int64_t) {
                     raise_highest(block, gts.all.data() + gts.starts[image], count_of(image));
                   });
  }
  const MatchRule rule = match_rule(high_threshold, low_threshold);
  int64_t* out = matches.mutable_data_ptr<int64_t>();
  for_each_block(first_box, images, per_image, image_stride,
                 [&](int64_t image, Block& block, int64_t first, int64_t count) {
                   compare(block, gts.all.data() + gts.starts[image], count_of(image));
                   for (int64_t lane = 0; lane < count; ++lane) {
                     out[image * per_image + first + lane] =
                         rule.match(block.largest[lane], block.best_gt[lane], block.is_best[lane] != 0);
                   }
                 });
  return matches;
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("match_boxes", TORCH_BOX(&maskrcnn_benchmark::cpu::match_boxes));
}

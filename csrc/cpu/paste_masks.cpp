// Pastes small masks into an image and encodes them as COCO's compressed RLE, on the CPU, column by column:
// the pasted mask never exists, so memory does not grow with the image.
//
// Rule (Mask R-CNN's family): the mask gets a border of `padding` zeros and the box grows by the same share;
// its corners are cut to integers; the mask is resized bilinearly (pixel centres, no corner alignment) to the
// box's size counted in pixels, (x2 - x1 + 1) x (y2 - y1 + 1), and a pixel belongs to it where the value is
// above the threshold and the image has it.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "checks.h"
#include "cpu/parallel.h"

namespace maskrcnn_benchmark::cpu {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Box corners further out than this are cut off: no image reaches there.
constexpr float kFarthestCorner = 1e9f;

struct PasteOptions {
  int64_t mask_size;
  int64_t height;
  int64_t width;
  float threshold;
  int64_t padding;
};

// COCO's RLE string: runs of 0 and 1 in turn, starting with 0; from the fourth run on the difference to the
// run two before; five bits a character, the sixth says that more follow.
class RleWriter {
 public:
  explicit RleWriter(int64_t pixels) : pixels_(pixels) {}

  // The mask has `value` from pixel `position` (counted column by column) on. Positions of changes must
  // ascend.
  void change_to(int64_t position, bool value) {
    if (value != value_ && position < pixels_) {
      write_run(position - start_);
      start_ = position;
      value_ = value;
    }
  }

  std::string finish() {
    write_run(pixels_ - start_);
    return std::move(text_);
  }

 private:
  void write_run(int64_t length) {
    int64_t rest = runs_ > 2 ? length - before_[runs_ % 2] : length;
    before_[runs_++ % 2] = length;
    for (bool more = true; more;) {
      const int bits = static_cast<int>(rest & 31);
      rest >>= 5;
      more = bits & 16 ? rest != -1 : rest != 0;
      text_.push_back(static_cast<char>((more ? bits | 32 : bits) + 48));
    }
  }

  int64_t pixels_;
  std::string text_;
  int64_t runs_ = 0;
  int64_t start_ = 0;
  int64_t before_[2] = {0, 0};  // the last two runs' lengths
  bool value_ = false;
};

// Bilinear resizing along one axis: an output reads inputs `low` and low + 1 (at the end low alone).
struct Sample {
  int64_t low;
  float weight_high;
};

// The samples of the outputs [first, last) out of `to`.
std::vector<Sample> resize_samples(int64_t from, int64_t to, int64_t first, int64_t last) {
  const float scale = static_cast<float>(from) / static_cast<float>(to);
  std::vector<Sample> samples;
  for (int64_t i = first; i < last; ++i) {
    const float position = std::max(scale * (static_cast<float>(i) + 0.5f) - 0.5f, 0.0f);
    const int64_t low = std::min(static_cast<int64_t>(position), from - 1);
    samples.push_back({low, std::min(position - static_cast<float>(low), 1.0f)});
  }
  return samples;
}

// The outputs [begin, end) that read the same two inputs.
struct Segment {
  int64_t begin;
  int64_t end;
  int64_t low;
};

std::vector<Segment> segments_of(const std::vector<Sample>& samples) {
  std::vector<Segment> segments;
  for (int64_t i = 0; i < static_cast<int64_t>(samples.size()); ++i) {
    if (segments.empty() || segments.back().low != samples[i].low) {
      segments.push_back({i, i, samples[i].low});
    }
    segments.back().end = i + 1;
  }
  return segments;
}

struct IntBox {
  int64_t x1, y1, x2, y2;
};

// Grows the box as its mask grows, and cuts the corners to integers.
IntBox expand_box(const float* box, float scale) {
  const float half_w = (box[2] - box[0]) * 0.5f * scale, half_h = (box[3] - box[1]) * 0.5f * scale;
  const float x = (box[2] + box[0]) * 0.5f, y = (box[3] + box[1]) * 0.5f;
  const auto cut = [](float value) {
    return static_cast<int64_t>(std::min(std::max(value, -kFarthestCorner), kFarthestCorner));
  };
  return {cut(x - half_w), cut(y - half_h), cut(x + half_w), cut(y + half_h)};
}

// One mask on its way into the image.
class Paster {
 public:
  Paster(const float* mask, const PasteOptions& options)
      : options_(options),
        side_(options.mask_size + 2 * options.padding),
        padded_(side_ * side_, 0.0f),
        column_(side_) {
    for (int64_t y = 0; y < options.mask_size; ++y) {
      std::copy_n(mask + y * options.mask_size, options.mask_size,
                  padded_.data() + (y + options.padding) * side_ + options.padding);
    }
  }

  std::string paste(const float* box) {
    RleWriter rle(options_.height * options_.width);
    const bool is_finite =
        std::isfinite(box[0]) && std::isfinite(box[1]) && std::isfinite(box[2]) && std::isfinite(box[3]);
    if (is_finite) {
      const double scale = static_cast<double>(side_) / static_cast<double>(options_.mask_size);
      paste_columns(expand_box(box, static_cast<float>(scale)), rle);
    }
    return rle.finish();
  }

 private:
  void paste_columns(const IntBox& frame, RleWriter& rle) {
    const int64_t top = std::max<int64_t>(frame.y1, 0), bottom = std::min(frame.y2 + 1, options_.height);
    const int64_t left = std::max<int64_t>(frame.x1, 0), right = std::min(frame.x2 + 1, options_.width);
    if (top >= bottom || left >= right) {
      return;
    }
    const int64_t frame_h = frame.y2 - frame.y1 + 1, frame_w = frame.x2 - frame.x1 + 1;
    const auto columns = resize_samples(side_, frame_w, left - frame.x1, right - frame.x1);
    const auto rows = resize_samples(side_, frame_h, top - frame.y1, bottom - frame.y1);
    const auto segments = segments_of(rows);
    // A mask over the full height goes on from one column's bottom to the next one's top.
    const bool full_height = top == 0 && bottom == options_.height;
    for (int64_t x = left; x < right; ++x) {
      resize_column(columns[x - left]);
      write_column(rows, segments, x * options_.height + top, rle);
      if (!full_height || x + 1 == right) {
        rle.change_to(x * options_.height + bottom, false);
      }
    }
  }

  void resize_column(const Sample& sample) {
    const float weight = sample.weight_high;
    const float* low = padded_.data() + sample.low;
    const float* high = padded_.data() + std::min(sample.low + 1, side_ - 1);
    for (int64_t y = 0; y < side_; ++y) {
      column_[y] = (1.0f - weight) * low[y * side_] + weight * high[y * side_];
    }
  }

  // `position`: place of the first row in the image. Where both inputs of a segment are clearly on one side
  // of the threshold, so are all of its rows.
  void write_column(const std::vector<Sample>& rows, const std::vector<Segment>& segments, int64_t position,
                    RleWriter& rle) const {
    for (const Segment& segment : segments) {
      const float a = column_[segment.low], b = column_[std::min(segment.low + 1, side_ - 1)];
      const float slack = 1e-6f * (std::abs(a) + std::abs(b));  // rounding; NaN takes the last branch
      if (std::min(a, b) > options_.threshold + slack) {
        rle.change_to(position + segment.begin, true);
      } else if (std::max(a, b) < options_.threshold - slack) {
        rle.change_to(position + segment.begin, false);
      } else {
        for (int64_t y = segment.begin; y < segment.end; ++y) {
          const float weight = rows[y].weight_high;
          rle.change_to(position + y, (1.0f - weight) * a + weight * b > options_.threshold);
        }
      }
    }
  }

  const PasteOptions& options_;
  const int64_t side_;
  std::vector<float> padded_;  // [side, side]
  std::vector<float> column_;  // [side], one column of the mask resized to the box's width
};

void check_arguments(const Tensor& masks, const Tensor& boxes, const PasteOptions& options) {
  const char* op = "paste_masks_rle";
  STD_TORCH_CHECK(masks.dim() == 3 && masks.size(1) == masks.size(2) && masks.size(2) > 0 &&
                      masks.scalar_type() == ScalarType::Float,
                  op, ": masks must be float32 [K, M, M], got ", dtype_of(masks), " ", shape_of(masks));
  STD_TORCH_CHECK(boxes.dim() == 2 && boxes.size(1) == 4 && boxes.size(0) == masks.size(0) &&
                      boxes.scalar_type() == ScalarType::Float,
                  op, ": boxes must be float32 [K, 4] with the K of masks, got ", dtype_of(boxes), " ",
                  shape_of(boxes));
  STD_TORCH_CHECK(options.height >= 0 && options.width >= 0, op,
                  ": the image size must not be negative, got ", options.height, " x ", options.width);
  STD_TORCH_CHECK(options.threshold >= 0, op, ": threshold must be 0 or more, got ", options.threshold);
  STD_TORCH_CHECK(options.padding >= 0, op, ": padding must be 0 or more, got ", options.padding);
}

struct Nothing {};

std::tuple<Tensor, Tensor> paste_masks_rle(const Tensor& masks, const Tensor& boxes, int64_t height,
                                           int64_t width, double threshold, int64_t padding) {
  const PasteOptions options{masks.dim() == 3 ? masks.size(1) : 0, height, width,
                             static_cast<float>(threshold), padding};
  check_arguments(masks, boxes, options);
  const Tensor dense_masks = torch::stable::contiguous(masks), dense_boxes = torch::stable::contiguous(boxes);
  const float* mask = dense_masks.const_data_ptr<float>();
  const float* box = dense_boxes.const_data_ptr<float>();
  const int64_t count = masks.size(0);
  std::vector<std::string> rles(count);
  parallel_tasks<Nothing>(count, [&](int64_t i, Nothing&) {
    rles[i] = Paster(mask + i * options.mask_size * options.mask_size, options).paste(box + 4 * i);
  });
  Tensor offsets = torch::stable::new_empty(boxes, {count + 1}, ScalarType::Long);
  int64_t* offset = offsets.mutable_data_ptr<int64_t>();
  offset[0] = 0;
  for (int64_t i = 0; i < count; ++i) {
    offset[i + 1] = offset[i] + static_cast<int64_t>(rles[i].size());
  }
  Tensor bytes = torch::stable::new_empty(boxes, {offset[count]}, ScalarType::Byte);
  for (int64_t i = 0; i < count; ++i) {
    std::copy(rles[i].begin(), rles[i].end(), bytes.mutable_data_ptr<uint8_t>() + offset[i]);
  }
  return {bytes, offsets};
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("paste_masks_rle", TORCH_BOX(&maskrcnn_benchmark::cpu::paste_masks_rle));
}

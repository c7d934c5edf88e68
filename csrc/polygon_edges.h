#pragma once

// COCO's rasterisation of polygons (pycocotools' frPyObjects), pixel by pixel the same, restated so that
// every edge and every column can be worked on by itself: COCO walks along an edge on a five times finer grid
// and notes where it passes from one column of pixels to the next; here each passage is computed directly.
// Shared by the CPU and the CUDA kernel. No product may be fused with an addition: roi_geometry.h's
// product().

#include <cmath>
#include <cstdint>

#include "roi_geometry.h"

namespace maskrcnn_benchmark {

constexpr int kUpsampling = 5;
// A vertex further away, in fifths of an output pixel, is moved here. (COCO's int overflows at 2^31.)
constexpr double kFarthest = 1e8;

// The polygons of all instances: polygon q has the vertices polygon_starts[q] .. polygon_starts[q + 1] - 1 of
// coords, instance g the polygons instance_starts[g] .. instance_starts[g + 1] - 1.
struct Polygons {
  const float* coords;
  const int32_t* polygon_starts;
  const int32_t* instance_starts;
  int64_t num_polygons;
  int64_t num_instances;
  int64_t num_vertices;
};

struct FinePoint {
  int x;
  int y;
};

// The box that polygons are cropped to and the factors that scale it to size x size.
struct CropFrame {
  float x;
  float y;
  float scale_x;
  float scale_y;
};

// Widths are x2 - x1 here (not the pixel count). One that is not positive counts as 1.
MASKRCNN_HOST_DEVICE CropFrame frame_of_box(const float* box, int size) {
  const double width = double(box[2]) - double(box[0]), height = double(box[3]) - double(box[1]);
  return {box[0], box[1], float(size / (width > 0 ? width : 1.0)), float(size / (height > 0 ? height : 1.0))};
}

MASKRCNN_HOST_DEVICE int to_fine(float value) {
  const double fine = product(double(kUpsampling), double(value)) + 0.5;
  return int(!(fine > -kFarthest) ? -kFarthest : fine < kFarthest ? fine : kFarthest);
}

MASKRCNN_HOST_DEVICE FinePoint fine_point(const float* vertex, const CropFrame& frame) {
  return {to_fine(product(vertex[0] - frame.x, frame.scale_x)),
          to_fine(product(vertex[1] - frame.y, frame.scale_y))};
}

// First row of pixels that lies below a passage at the fine row v.
MASKRCNN_HOST_DEVICE int row_below(int v, int size) {
  const double row = (v + 0.5) / kUpsampling - 0.5;
  return row < 0 ? 0 : row > size ? size : int(std::ceil(row));
}

// An edge on the fine grid, walked in the direction of its longer side's growth.
struct FineEdge {
  FinePoint from;
  FinePoint to;
  bool is_flat;  // at least as wide as high
  double slope;

  MASKRCNN_HOST_DEVICE FineEdge(FinePoint a, FinePoint b) : from(a), to(b) {
    const int dx = std::abs(b.x - a.x), dy = std::abs(b.y - a.y);
    is_flat = dx >= dy;
    if (is_flat ? a.x > b.x : a.y > b.y) {
      from = b;
      to = a;
    }
    const int rise = is_flat ? to.y - from.y : to.x - from.x, run = is_flat ? dx : dy;
    slope = run > 0 ? double(rise) / run : 0.0;
  }

  // The shorter side's coordinate after t steps along the longer one.
  MASKRCNN_HOST_DEVICE int across(int t) const {
    return int((is_flat ? from.y : from.x) + product(slope, double(t)) + 0.5);
  }

  // Columns [*first, *last] of pixels whose middle the edge may pass.
  MASKRCNN_HOST_DEVICE void columns(int size, int* first, int* last) const {
    const int low = from.x < to.x ? from.x : to.x, high = from.x < to.x ? to.x : from.x;
    *first = low <= 2 ? 0 : (low + 2) / kUpsampling;
    *last = high < 3 ? -1 : (high - 3) / kUpsampling;
    *last = *last < size ? *last : size - 1;
  }

  // The fine row where the edge passes from fine column 5 * column + 2 to the next; false if it does not.
  MASKRCNN_HOST_DEVICE bool passage(int column, int* v) const {
    const int before = kUpsampling * column + 2;
    if (is_flat) {
      const int t = before - from.x;
      const int a = across(t), b = across(t + 1);
      *v = a < b ? a : b;
      return t >= 0 && before < to.x;
    }
    const bool rising = slope > 0;
    int below = 0, above = to.y - from.y;  // steps before and after the passage
    if ((across(below) > before) == rising || (across(above) > before) != rising) {
      return false;
    }
    while (above - below > 1) {
      const int middle = below + (above - below) / 2;
      if ((across(middle) > before) == rising) {
        above = middle;
      } else {
        below = middle;
      }
    }
    *v = from.y + below;
    return true;
  }
};

}  // namespace maskrcnn_benchmark

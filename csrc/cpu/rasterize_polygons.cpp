// Mask targets: polygons cropped to a box, scaled to a small square and rasterised as COCO does, on the CPU.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <vector>

#include "cpu/parallel.h"
#include "polygon_edges.h"
#include "rasterize_checks.h"

namespace maskrcnn_benchmark::cpu {
namespace {

// A pixel per byte, column after column. A passage of an edge toggles inside and outside from its row on.
using Toggles = std::vector<uint8_t>;

void toggle_edges(const float* vertices, int64_t count, const CropFrame& frame, int size, Toggles& toggles) {
  for (int64_t i = 0; i < count; ++i) {
    const float* next = vertices + 2 * (i + 1 < count ? i + 1 : 0);
    const FineEdge edge(fine_point(vertices + 2 * i, frame), fine_point(next, frame));
    int first, last, v;
    edge.columns(size, &first, &last);
    for (int column = first; column <= last; ++column) {
      if (edge.passage(column, &v)) {
        toggles[column * size + row_below(v, size)] ^= 1;
      }
    }
  }
}

void rasterize(const Polygons& polygons, int64_t instance, const float* box, int size, Toggles& toggles,
               uint8_t* mask) {
  std::fill_n(mask, size * size, uint8_t(0));
  if (instance < 0 || instance >= polygons.num_instances) {
    return;
  }
  const CropFrame frame = frame_of_box(box, size);
  for (int32_t q = polygons.instance_starts[instance]; q < polygons.instance_starts[instance + 1]; ++q) {
    const int64_t start = polygons.polygon_starts[q];
    toggles.assign(size * size + 1, 0);
    toggle_edges(polygons.coords + 2 * start, polygons.polygon_starts[q + 1] - start, frame, size, toggles);
    uint8_t inside = 0;
    for (int x = 0; x < size; ++x) {
      for (int y = 0; y < size; ++y) {
        inside ^= toggles[x * size + y];
        mask[y * size + x] |= inside;
      }
    }
  }
}

// Offsets come from the caller; a wrong one must not read outside the arrays.
void check_offsets(const int32_t* starts, int64_t count, int64_t total, const char* name) {
  int32_t previous = 0;
  for (int64_t i = 0; i < count; ++i) {
    STD_TORCH_CHECK(starts[i] >= previous && starts[i] <= total, "rasterize_polygons: ", name,
                    " must ascend from 0 to ", total, " at most, got ", starts[i], " at place ", i);
    previous = starts[i];
  }
}

Tensor rasterize_polygons(const Tensor& coords, const Tensor& polygon_starts, const Tensor& instance_starts,
                          const Tensor& instance, const Tensor& boxes, int64_t size) {
  check_rasterize_arguments(coords, polygon_starts, instance_starts, instance, boxes, size);
  const auto dense = [](const Tensor& tensor) { return torch::stable::contiguous(tensor); };
  const Tensor xy = dense(coords), vertex_starts = dense(polygon_starts), starts = dense(instance_starts);
  const Tensor indices = dense(instance), rois = dense(boxes);
  const Polygons polygons = polygons_of(xy, vertex_starts, starts);
  check_offsets(polygons.polygon_starts, polygons.num_polygons + 1, polygons.num_vertices, "polygon_starts");
  check_offsets(polygons.instance_starts, polygons.num_instances + 1, polygons.num_polygons,
                "instance_starts");
  Tensor masks = torch::stable::new_empty(boxes, {boxes.size(0), size, size}, ScalarType::Byte);
  const int64_t* of_roi = indices.const_data_ptr<int64_t>();
  const float* box = rois.const_data_ptr<float>();
  uint8_t* out = masks.mutable_data_ptr<uint8_t>();
  parallel_tasks<Toggles>(boxes.size(0), [&](int64_t r, Toggles& toggles) {
    rasterize(polygons, of_roi[r], box + 4 * r, static_cast<int>(size), toggles, out + r * size * size);
  });
  return masks;
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("rasterize_polygons", TORCH_BOX(&maskrcnn_benchmark::cpu::rasterize_polygons));
}

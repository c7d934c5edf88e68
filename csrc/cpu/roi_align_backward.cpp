// roi_align over a feature pyramid, backward, on the CPU.
//
// Each map is cut into tiles. A task owns a tile: it adds up in a buffer of its own what every roi that meets
// the tile sends there, in ascending order of the rois, and then writes the tile. No two tasks write the same
// pixel, so there are no atomic additions, and the result does not depend on the number of threads.

#include <torch/csrc/stable/library.h>

#include <type_traits>
#include <vector>

#include "cpu/channel_kernels.h"
#include "cpu/parallel.h"
#include "cpu/roi_align_taps.h"
#include "cpu/roi_tiles.h"
#include "roi_align_checks.h"

namespace maskrcnn_benchmark::cpu {
namespace {

// Buffers of one thread.
template <typename T>
struct Buffers {
  using A = typename Accumulate<T>::type;
  AxisTaps<A> y, x;
  std::vector<A> sums;  // [tile height, tile width, C]
};

struct Nothing {};

template <typename T>
struct Scattering {
  using A = typename Accumulate<T>::type;
  const Pyramid& pyramid;
  const A* rois;
  const T* grad;  // [K, bins, C]
  bool channels_last;
  T* const* out;  // every level [N, H, W, C] or [N, C, H, W]

  void add_roi(int64_t k, const Tile& tile, Buffers<T>& buffers) const {
    const RoiGrid<A> grid = grid_of_roi(rois + 5 * k, pyramid);
    AxisTaps<A>&y = buffers.y, &x = buffers.x;
    y.build(grid.y, pyramid.pooled_h, tile.y0, tile.y1);
    x.build(grid.x, pyramid.pooled_w, tile.x0, tile.x1);
    const int64_t channels = pyramid.channels, width = tile.x1 - tile.x0;
    for (int i = 0; i < pyramid.pooled_h; ++i) {
      for (int j = 0; j < pyramid.pooled_w; ++j) {
        const T* bin_grad = grad + ((k * pyramid.pooled_h + i) * pyramid.pooled_w + j) * channels;
        for (int ty = y.begin[i]; ty < y.begin[i + 1]; ++ty) {
          A* row = buffers.sums.data() + (y.index[ty] - tile.y0) * width * channels;
          for (int tx = x.begin[j]; tx < x.begin[j + 1]; ++tx) {
            add_pixel(bin_grad, y.weight[ty] * x.weight[tx], channels,
                      row + (x.index[tx] - tile.x0) * channels);
          }
        }
      }
    }
  }

  void write(const Tile& tile, const Buffers<T>& buffers) const {
    const LevelSize& level = pyramid.levels[tile.level];
    const int64_t channels = pyramid.channels, plane = int64_t(level.height) * level.width;
    const int64_t width = tile.x1 - tile.x0;
    T* image = out[tile.level] + tile.batch * plane * channels;
    for (int64_t y = tile.y0; y < tile.y1; ++y) {
      const A* row = buffers.sums.data() + (y - tile.y0) * width * channels;
      const int64_t pixel = y * level.width + tile.x0;
      if (channels_last) {
        round_values(row, width * channels, image + pixel * channels);
      } else {
        rows_to_planes(row, channels, width, channels, plane, image + pixel);
      }
    }
  }

  void run(const RoiTiles& tiles) const {
    parallel_tasks<Buffers<T>>(tiles.count(), [&](int64_t i, Buffers<T>& buffers) {
      const Tile tile = tiles.tile(i);
      buffers.sums.assign(int64_t(tile.y1 - tile.y0) * (tile.x1 - tile.x0) * pyramid.channels, A(0));
      for (int64_t k : tiles.rois(tile)) {
        add_roi(k, tile, buffers);
      }
      write(tile, buffers);
    });
  }
};

// The gradient with a bin's channels as neighbours: [K, bins, C].
template <typename T>
Tensor interleaved(const Tensor& grad) {
  if (is_channels_last(grad)) {
    return grad;
  }
  const Tensor planes = torch::stable::contiguous(grad);
  const int64_t channels = grad.size(1), bins = grad.size(2) * grad.size(3);
  Tensor rows = torch::stable::new_empty(grad, {grad.numel()});
  const T* from = planes.const_data_ptr<T>();
  T* to = rows.mutable_data_ptr<T>();
  parallel_tasks<Nothing>(grad.size(0), [&](int64_t k, Nothing&) {
    const int64_t start = k * bins * channels;
    planes_to_rows(from + start, bins, bins, channels, channels, to + start);
  });
  return rows;
}

template <typename T>
void run(const Tensor& grad, const Tensor& rois, const Pyramid& pyramid, bool channels_last,
         std::vector<Tensor>& out) {
  using A = typename Accumulate<T>::type;
  const Tensor rows = interleaved<T>(grad);
  std::vector<T*> levels;
  for (Tensor& level : out) {
    levels.push_back(level.mutable_data_ptr<T>());
  }
  const A* boxes = rois.const_data_ptr<A>();
  const Scattering<T> scattering{pyramid, boxes, rows.const_data_ptr<T>(), channels_last, levels.data()};
  scattering.run(RoiTiles(pyramid, boxes, rois.size(0)));
}

std::vector<Tensor> roi_align_backward(const Tensor& grad, const Tensor& rois,
                                       const std::vector<int64_t>& shapes, const std::vector<double>& scales,
                                       int64_t pooled_h, int64_t pooled_w, int64_t sampling_ratio,
                                       bool channels_last) {
  const char* op = "roi_align_backward";
  const Pyramid pyramid =
      make_pyramid(op, shapes, scales, rois, {pooled_h, pooled_w, sampling_ratio, channels_last});
  check_grad(op, grad, rois, pyramid);
  std::vector<Tensor> out;
  for (size_t i = 0; i < scales.size(); ++i) {
    out.push_back(empty_as(grad, {shapes.begin() + 4 * i, shapes.begin() + 4 * i + 4}, channels_last));
  }
  const ScalarType type = grad.scalar_type();
  const Tensor boxes = rois_for(rois, type);
  switch (type) {
    case ScalarType::Float:
      run<float>(grad, boxes, pyramid, channels_last, out);
      break;
    case ScalarType::Double:
      run<double>(grad, boxes, pyramid, channels_last, out);
      break;
    case ScalarType::BFloat16:
      run<BFloat16>(grad, boxes, pyramid, channels_last, out);
      break;
    case ScalarType::Half:
      run<Half>(grad, boxes, pyramid, channels_last, out);
      break;
    default:
      STD_TORCH_CHECK(false, op, ": grad must be floating, got ", dtype_of(grad));
  }
  return out;
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("roi_align_backward", TORCH_BOX(&maskrcnn_benchmark::cpu::roi_align_backward));
}

// roi_align over a feature pyramid, forward, on the CPU.
//
// A bin is a weighted sum of whole pixels: the work is done where the channels of a pixel are neighbours in
// memory. Maps that are stored so (channels_last) are read in place. Of maps stored plane by plane, a few
// planes at a time are interleaved into a buffer, only in those tiles that a roi meets, and pooled from
// there.

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

constexpr int64_t kRoisPerTask = 8;
// Of the interleaved buffer. More: fewer rounds over the rois; less: a buffer that stays in the third cache.
constexpr int64_t kBytesPerPixel = 256;

// Buffers of one thread.
template <typename T>
struct Buffers {
  using A = typename Accumulate<T>::type;
  AxisTaps<A> y, x;
  std::vector<const T*> pixels;
  std::vector<A> weights;
  std::vector<A> sums;  // one row of channels per bin
};

// Some channels of the pyramid's maps, pixel by pixel.
template <typename T>
struct Maps {
  const T* levels[kMaxLevels];  // each [N, H, W, stride]; null: rois of this level are left alone
  int64_t stride;               // from one pixel to the next
  int64_t first_channel;        // the maps hold the result's channels from here
  int64_t channels;
};

template <typename T>
struct Pooling {
  using A = typename Accumulate<T>::type;
  const Pyramid& pyramid;
  const A* rois;
  int64_t num_rois;
  T* out;  // [K, bins, C] or [K, C, bins]
  bool channels_last;

  int64_t bins() const { return int64_t(pyramid.pooled_h) * pyramid.pooled_w; }

  // image: the roi's image and level in `maps`.
  void pool_bin(const T* image, int64_t width, const Maps<T>& maps, int64_t bin, Buffers<T>& buffers,
                A* sums) const {
    const AxisTaps<A>&y = buffers.y, &x = buffers.x;
    const int64_t i = bin / pyramid.pooled_w, j = bin % pyramid.pooled_w;
    buffers.pixels.clear();
    buffers.weights.clear();
    for (int ty = y.begin[i]; ty < y.begin[i + 1]; ++ty) {
      const T* row = image + y.index[ty] * width * maps.stride;
      for (int tx = x.begin[j]; tx < x.begin[j + 1]; ++tx) {
        buffers.pixels.push_back(row + x.index[tx] * maps.stride);
        buffers.weights.push_back(y.weight[ty] * x.weight[tx]);
      }
    }
    sum_pixels(buffers.pixels.data(), buffers.weights.data(), static_cast<int>(buffers.pixels.size()),
               maps.channels, sums);
  }

  void pool_roi(int64_t k, const RoiGrid<A>& grid, const Maps<T>& maps, Buffers<T>& buffers) const {
    const LevelSize& level = pyramid.levels[grid.level];
    const T* image = maps.levels[grid.level] + grid.batch * int64_t(level.height) * level.width * maps.stride;
    buffers.y.build(grid.y, pyramid.pooled_h);
    buffers.x.build(grid.x, pyramid.pooled_w);
    buffers.sums.resize(bins() * maps.channels);
    T* roi_out = out + k * bins() * pyramid.channels;
    for (int64_t bin = 0; bin < bins(); ++bin) {
      T* pixel_out = roi_out + bin * pyramid.channels + maps.first_channel;
      if (!channels_last) {
        pool_bin(image, level.width, maps, bin, buffers, buffers.sums.data() + bin * maps.channels);
      } else if constexpr (std::is_same_v<T, A>) {
        pool_bin(image, level.width, maps, bin, buffers, pixel_out);
      } else {
        pool_bin(image, level.width, maps, bin, buffers, buffers.sums.data());
        round_values(buffers.sums.data(), maps.channels, pixel_out);
      }
    }
    if (!channels_last) {
      rows_to_planes(buffers.sums.data(), maps.channels, bins(), maps.channels, bins(),
                     roi_out + maps.first_channel * bins());
    }
  }

  void pool_rois(const Maps<T>& maps) const {
    parallel_tasks<Buffers<T>>(
        (num_rois + kRoisPerTask - 1) / kRoisPerTask, [&](int64_t task, auto& buffers) {
          const int64_t last = std::min((task + 1) * kRoisPerTask, num_rois);
          for (int64_t k = task * kRoisPerTask; k < last; ++k) {
            const RoiGrid<A> grid = grid_of_roi(rois + 5 * k, pyramid);
            if (grid.valid && maps.levels[grid.level]) {
              pool_roi(k, grid, maps, buffers);
            } else if (!grid.valid) {
              std::fill_n(out + k * bins() * pyramid.channels, bins() * pyramid.channels, T(0));
            }
          }
        });
  }
};

struct Nothing {};

// planes: the [N, C, H, W] maps, null for a level that is read in place. Interleaves those of maps.channels
// into maps.levels where a roi meets them; other pixels stay unwritten.
template <typename T>
void interleave(const Pyramid& pyramid, const RoiTiles& tiles, const T* const* planes, const Maps<T>& maps) {
  parallel_tasks<Nothing>(tiles.count(), [&](int64_t i, Nothing&) {
    const Tile tile = tiles.tile(i);
    if (!planes[tile.level] || tiles.rois(tile).empty()) {
      return;
    }
    const int64_t width = pyramid.levels[tile.level].width, plane = width * pyramid.levels[tile.level].height;
    const T* from =
        planes[tile.level] + (tile.batch * int64_t(pyramid.channels) + maps.first_channel) * plane;
    T* to = const_cast<T*>(maps.levels[tile.level]) + tile.batch * plane * maps.stride;
    for (int64_t y = tile.y0; y < tile.y1; ++y) {
      const int64_t pixel = y * width + tile.x0;
      planes_to_rows(from + pixel, plane, tile.x1 - tile.x0, maps.channels, maps.stride,
                     to + pixel * maps.stride);
    }
  });
}

template <typename T>
void pool_planes(const Pooling<T>& pooling, const std::vector<Tensor>& features, const T* const* planes) {
  const Pyramid& pyramid = pooling.pyramid;
  const RoiTiles tiles(pyramid, pooling.rois, pooling.num_rois);
  Maps<T> maps{{}, kBytesPerPixel / static_cast<int64_t>(sizeof(T)), 0, 0};
  std::vector<Tensor> buffers;
  for (int level = 0; level < pyramid.num_levels; ++level) {
    if (planes[level]) {
      const int64_t pixels = int64_t(pyramid.batch) * features[level].size(2) * features[level].size(3);
      buffers.push_back(torch::stable::new_empty(features[level], {pixels * maps.stride}));
      maps.levels[level] = buffers.back().template const_data_ptr<T>();
    }
  }
  for (; maps.first_channel < pyramid.channels; maps.first_channel += maps.stride) {
    maps.channels = std::min(maps.stride, pyramid.channels - maps.first_channel);
    interleave(pyramid, tiles, planes, maps);
    pooling.pool_rois(maps);
  }
}

template <typename T>
void run(const std::vector<Tensor>& features, const Tensor& rois, const Pyramid& pyramid, bool channels_last,
         Tensor& out) {
  using A = typename Accumulate<T>::type;
  const Pooling<T> pooling{pyramid, rois.const_data_ptr<A>(), rois.size(0), out.mutable_data_ptr<T>(),
                           channels_last};
  Maps<T> in_place{{}, pyramid.channels, 0, pyramid.channels};
  const T* planes[kMaxLevels] = {};
  bool any_in_place = false, any_planes = false;
  std::vector<Tensor> dense(features.begin(), features.end());
  for (int level = 0; level < pyramid.num_levels; ++level) {
    if (is_channels_last(features[level])) {
      in_place.levels[level] = features[level].const_data_ptr<T>();
      any_in_place = true;
    } else {
      dense[level] = torch::stable::contiguous(features[level]);
      planes[level] = dense[level].const_data_ptr<T>();
      any_planes = true;
    }
  }
  if (any_in_place) {
    pooling.pool_rois(in_place);
  }
  if (any_planes) {
    pool_planes(pooling, dense, planes);
  }
}

Tensor roi_align(const std::vector<Tensor>& features, const Tensor& rois, const std::vector<double>& scales,
                 int64_t pooled_h, int64_t pooled_w, int64_t sampling_ratio, bool channels_last) {
  const char* op = "roi_align";
  STD_TORCH_CHECK(!features.empty(), op, ": no feature map given");
  check_same_device(op, "features", features[0], "rois", rois);
  const Pyramid pyramid = make_pyramid(op, shapes_of(op, features), scales, rois,
                                       {pooled_h, pooled_w, sampling_ratio, channels_last});
  const ScalarType type = features[0].scalar_type();
  Tensor out = empty_as(features[0], {rois.size(0), features[0].size(1), pooled_h, pooled_w}, channels_last);
  if (out.numel() == 0) {
    return out;
  }
  const Tensor boxes = rois_for(rois, type);
  switch (type) {
    case ScalarType::Float:
      run<float>(features, boxes, pyramid, channels_last, out);
      break;
    case ScalarType::Double:
      run<double>(features, boxes, pyramid, channels_last, out);
      break;
    case ScalarType::BFloat16:
      run<BFloat16>(features, boxes, pyramid, channels_last, out);
      break;
    case ScalarType::Half:
      run<Half>(features, boxes, pyramid, channels_last, out);
      break;
    default:
      STD_TORCH_CHECK(false, op, ": features must be floating, got ", dtype_of(features[0]));
  }
  return out;
}

}  // namespace
}  // namespace maskrcnn_benchmark::cpu

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("roi_align", TORCH_BOX(&maskrcnn_benchmark::cpu::roi_align));
}

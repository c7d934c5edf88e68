#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "roi_geometry.h"

namespace maskrcnn_benchmark::cpu {

// Sides of a tile in feature pixels. With 256 float32 channels it is 256 KiB, which a core's second cache
// holds.
constexpr int kTileHeight = 8;
constexpr int kTileWidth = 32;

// Pixels [y0, y1) x [x0, x1) of one image's feature map.
struct Tile {
  int64_t index;  // among all tiles of the pyramid
  int level;
  int batch;
  int y0, y1, x0, x1;
};

// Cuts every map of a pyramid into tiles and says which rois meet a tile, in ascending order.
class RoiTiles {
 public:
  template <typename A>
  RoiTiles(const Pyramid& pyramid, const A* rois, int64_t num_rois) : pyramid_(pyramid) {
    first_.push_back(0);
    for (int i = 0; i < pyramid.num_levels; ++i) {
      first_.push_back(first_.back() + pyramid.batch * per_image(i));
    }
    of_tile_.resize(first_.back());
    for (int64_t k = 0; k < num_rois; ++k) {
      const RoiGrid<A> grid = grid_of_roi(rois + 5 * k, pyramid);
      if (grid.valid) {
        add(k, grid);
      }
    }
  }

  int64_t count() const { return first_.back(); }
  Tile tile(int64_t i) const {
    int level = 0;
    while (i >= first_[level + 1]) {
      ++level;
    }
    const int64_t in_level = i - first_[level], in_image = in_level % per_image(level);
    const LevelSize& size = pyramid_.levels[level];
    const int y0 = static_cast<int>(in_image / columns(level)) * kTileHeight;
    const int x0 = static_cast<int>(in_image % columns(level)) * kTileWidth;
    return {i,
            level,
            static_cast<int>(in_level / per_image(level)),
            y0,
            std::min(y0 + kTileHeight, size.height),
            x0,
            std::min(x0 + kTileWidth, size.width)};
  }

  const std::vector<int64_t>& rois(const Tile& tile) const { return of_tile_[tile.index]; }

 private:
  int64_t per_image(int level) const { return rows(level) * columns(level); }
  int64_t rows(int level) const { return (pyramid_.levels[level].height + kTileHeight - 1) / kTileHeight; }
  int64_t columns(int level) const { return (pyramid_.levels[level].width + kTileWidth - 1) / kTileWidth; }

  // Pixels [low, high) that the samples of an axis can touch, and a little more.
  template <typename A>
  static void span(const AxisGrid<A>& axis, int bins, int64_t* low, int64_t* high) {
    const double start = axis.start, length = double(bins) * double(axis.bin);
    *low = clamp_to_int(start - 2.0, axis.size);
    *high = clamp_to_int(start + length + 3.0, axis.size);
  }

  template <typename A>
  void add(int64_t k, const RoiGrid<A>& grid) {
    int64_t y0, y1, x0, x1;
    span(grid.y, pyramid_.pooled_h, &y0, &y1);
    span(grid.x, pyramid_.pooled_w, &x0, &x1);
    const int64_t image = first_[grid.level] + grid.batch * per_image(grid.level);
    for (int64_t ty = y0 / kTileHeight; ty * kTileHeight < y1; ++ty) {
      for (int64_t tx = x0 / kTileWidth; tx * kTileWidth < x1; ++tx) {
        of_tile_[image + ty * columns(grid.level) + tx].push_back(k);
      }
    }
  }

  Pyramid pyramid_;
  std::vector<int64_t> first_;                 // [L + 1] first tile of a level
  std::vector<std::vector<int64_t>> of_tile_;  // rois that meet a tile
};

}  // namespace maskrcnn_benchmark::cpu

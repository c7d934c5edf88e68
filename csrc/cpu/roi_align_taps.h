#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "roi_geometry.h"

namespace maskrcnn_benchmark::cpu {

// Bilinear interpolation is separable, and so is the average over a bin's samples. Along one axis, bin i
// reads feature pixels index[begin[i]] .. index[begin[i + 1] - 1] with these weights (the samples' weights,
// summed per pixel and divided by the number of samples). Samples of a bin share pixels, so there are fewer
// taps than samples times two. Indices ascend inside a bin.
template <typename A>
struct AxisTaps {
  std::vector<int> begin;
  std::vector<int> index;
  std::vector<A> weight;

  // Taps outside [low, high) are left out.
  void build(const AxisGrid<A>& axis, int bins, int low = 0, int high = INT32_MAX) {
    begin.assign(1, 0);
    index.clear();
    weight.clear();
    const A inverse = A(1) / A(axis.grid);
    for (int i = 0; i < bins; ++i) {
      int first, last;
      sample_range(axis, i, &first, &last);
      for (int j = first; j < last; ++j) {
        BilinearPair<A> pair;
        if (bilinear_pair(axis.position(i, j), axis.size, &pair)) {
          add(pair.low, pair.weight_low * inverse);
          add(pair.high, pair.weight_high * inverse);
        }
      }
      keep_between(low, high);
      begin.push_back(static_cast<int>(index.size()));
    }
  }

 private:
  // Samples come in ascending order: a pixel met before is one of the bin's last two.
  void add(int pixel, A value) {
    const size_t size = index.size(), oldest = std::max<size_t>(begin.back(), size < 2 ? 0 : size - 2);
    for (size_t t = size; t > oldest; --t) {
      if (index[t - 1] == pixel) {
        weight[t - 1] += value;
        return;
      }
    }
    index.push_back(pixel);
    weight.push_back(value);
  }

  void keep_between(int low, int high) {
    size_t kept = begin.back();
    for (size_t t = begin.back(); t < index.size(); ++t) {
      if (index[t] >= low && index[t] < high) {
        index[kept] = index[t];
        weight[kept++] = weight[t];
      }
    }
    index.resize(kept);
    weight.resize(kept);
  }
};

}  // namespace maskrcnn_benchmark::cpu

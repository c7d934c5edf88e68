#pragma once

#include <cmath>

namespace maskrcnn_benchmark {

// An overlap is over the threshold when inter / union, rounded to T, is strictly greater than it; a quotient
// that is NaN is not. The threshold is a double and T may be narrower:
//
//   limit   `quotient > limit` in T says the same as `quotient > threshold` in double;
//   bound   a little under the threshold, for a test without a division that every overlap over the
//           threshold passes: such a quotient means inter > bound * union exactly, and rounding the
//           right-hand side cannot lift it over inter.
template <typename T>
struct NmsThreshold {
  T limit, bound;

  explicit NmsThreshold(double threshold) : limit(T(threshold)), bound(T(threshold * (1 - 1e-5))) {
    if (double(limit) > threshold) {
      limit = std::nextafter(limit, T(-1));
    }
  }
};

}  // namespace maskrcnn_benchmark

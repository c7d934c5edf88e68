#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace maskrcnn_benchmark::cpu {

// An item to sort: an unsigned key and what it belongs to.
template <typename Key>
struct Keyed {
  Key key;
  int32_t item;
};

// Unsigned keys that ascend where the numbers descend; -0 and +0 get one key. NaN is not expected.
template <typename T>
auto descending_key(T number) {
  using Key = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  constexpr Key kSign = Key(1) << (sizeof(T) * 8 - 1);
  number += T(0);  // -0 + 0 is +0
  Key bits;
  std::memcpy(&bits, &number, sizeof(T));
  return (bits & kSign) ? bits : Key(~(bits | kSign));
}

// Unsigned keys that ascend with the numbers.
inline uint64_t ascending_key(int64_t number) {
  return uint64_t(number) ^ (uint64_t(1) << 63);
}

// Stable sort by ascending key, a byte at a time from the lowest. A byte that all keys share costs
// nothing, so small group numbers in wide keys sort in one pass.
template <typename Key>
void radix_sort(std::vector<Keyed<Key>>& items) {
  constexpr int kBytes = sizeof(Key);
  std::vector<Keyed<Key>> other(items.size());
  std::array<std::array<uint32_t, 256>, kBytes> counts{};
  for (const Keyed<Key>& entry : items) {
    for (int byte = 0; byte < kBytes; ++byte) {
      ++counts[byte][(entry.key >> (8 * byte)) & 255];
    }
  }
  for (int byte = 0; byte < kBytes; ++byte) {
    std::array<uint32_t, 256>& starts = counts[byte];
    if (items.empty() || starts[(items[0].key >> (8 * byte)) & 255] == items.size()) {
      continue;
    }
    uint32_t sum = 0;
    for (uint32_t& start : starts) {
      const uint32_t count = start;
      start = sum;
      sum += count;
    }
    for (const Keyed<Key>& entry : items) {
      other[starts[(entry.key >> (8 * byte)) & 255]++] = entry;
    }
    items.swap(other);
  }
}

}  // namespace maskrcnn_benchmark::cpu

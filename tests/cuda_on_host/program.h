#pragma once

// What the programs share: PROGRAM FOLDER ascending|descending NUMBER ..., with a tensor in each file of the
// folder, as it lies in memory.

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

struct Program {
  std::string folder;
  std::vector<int64_t> numbers;

  Program(int count, char** words) : folder(words[1]) {
    cuda_on_host::descending = std::string(words[2]) == "descending";
    for (int i = 3; i < count; ++i) {
      numbers.push_back(std::stoll(words[i]));
    }
  }

  template <typename T>
  std::vector<T> read(const std::string& name) const {
    std::ifstream file(folder + "/" + name, std::ios::binary | std::ios::ate);
    if (!file) {
      cuda_on_host::fail(("no file " + name).c_str());
    }
    std::vector<T> values(file.tellg() / sizeof(T));
    file.seekg(0).read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(T));
    return values;
  }

  template <typename T>
  void write(const std::string& name, const std::vector<T>& values) const {
    std::ofstream file(folder + "/" + name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
};

// Memory that has not been written yet.
template <typename T>
std::vector<T> garbage(int64_t count) {
  std::vector<T> values(count);
  std::memset(static_cast<void*>(values.data()), cuda_on_host::kGarbage, count * sizeof(T));
  return values;
}

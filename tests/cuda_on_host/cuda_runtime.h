#pragma once

// Stands in for the toolkit's header of this name, so that a C++ compiler can compile the kernels of
// csrc/cuda and a processor run them, in tests. It holds what those kernels use, and no more.
//
// The threads of a block take turns on one processor: each runs to its next __syncthreads() or to its end,
// then the next one does, in ascending or descending order. A result that differs between the two orders, or
// from the expected one in either, lacks a __syncthreads(). Blocks run one after another.

#include <math.h>
#include <ucontext.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(threads)
#define __syncthreads() cuda_on_host::wait_at(__LINE__)
// One for all threads of a block, which share one thread of the host. (`static` does not go with `extern`.)
#define __shared__ thread_local

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

struct alignas(16) float4 {
  float x, y, z, w;
};

inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

using std::min;

inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline int __float_as_int(float value) {
  return std::bit_cast<int>(value);
}
inline int __ffsll(long long bits) {
  return __builtin_ffsll(bits);
}
inline int __popcll(unsigned long long bits) {
  return __builtin_popcountll(bits);
}

inline void atomicMax(int* target, int value) {
  *target = std::max(*target, value);
}
inline void atomicXor(uint32_t* target, uint32_t bits) {
  *target ^= bits;
}
inline void atomicAdd(float* target, float value) {
  *target += value;
}
inline void atomicAdd(double* target, double value) {
  *target += value;
}
inline void atomicAdd(float4* target, float4 value) {
  *target = {target->x + value.x, target->y + value.y, target->z + value.z, target->w + value.w};
}

namespace cuda_on_host {

constexpr size_t kStackBytes = 64 << 10;
constexpr size_t kSharedBytes = 48 << 10;  // what a launch may ask for without more ado
constexpr char kGarbage = 0x5A;

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  dim3 index;
  int barrier;  // line of the __syncthreads() that it waits at
  bool done;
};

inline bool descending = false;     // the order of the threads
inline char* dynamic_shared;        // the kernel's `extern __shared__` array, of kSharedBytes
inline std::function<void()> body;  // the kernel with its arguments
inline ucontext_t scheduler;
inline Thread* running;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "cuda_on_host: %s\n", what);
  std::_Exit(1);
}

inline void run_thread() {
  body();
  running->done = true;
}

inline void wait_at(int line) {
  running->barrier = line;
  swapcontext(&running->context, &scheduler);
}

// A thread that has returned is waited for no longer.
inline void run_block(std::vector<Thread>& threads) {
  for (Thread& thread : threads) {
    thread.done = false;
    getcontext(&thread.context);
    thread.context.uc_stack = {.ss_sp = thread.stack.get(), .ss_flags = 0, .ss_size = kStackBytes};
    thread.context.uc_link = &scheduler;
    makecontext(&thread.context, run_thread, 0);
  }
  const Thread* waiting = &threads[0];
  while (waiting != nullptr) {
    waiting = nullptr;
    for (size_t i = 0; i < threads.size(); ++i) {
      running = &threads[descending ? threads.size() - 1 - i : i];
      if (running->done) {
        continue;
      }
      threadIdx = running->index;
      swapcontext(&scheduler, &running->context);
      if (!running->done) {
        if (waiting != nullptr && waiting->barrier != running->barrier) {
          fail("the threads of a block wait at different places");
        }
        waiting = running;
      }
    }
  }
}

// kernel<<<grid, block, shared_bytes>>>(arguments...)
template <typename Kernel, typename... Arguments>
void launch(dim3 grid, unsigned block, size_t shared_bytes, Kernel kernel, Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block == 0) {
    fail("a launch of nothing");
  }
  if (grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535 || block > 1024 || shared_bytes > kSharedBytes) {
    fail("more than a launch may ask for");
  }
  gridDim = grid;
  blockDim = dim3(block);
  body = [&] { kernel(arguments...); };
  std::vector<Thread> threads(block);
  for (unsigned i = 0; i < block; ++i) {
    threads[i].index = dim3(i, 0, 0);
  }
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        if (dynamic_shared != nullptr) {
          std::memset(dynamic_shared, kGarbage, kSharedBytes);
        }
        run_block(threads);
        if (dynamic_shared != nullptr &&
            std::any_of(dynamic_shared + shared_bytes, dynamic_shared + kSharedBytes,
                        [](char byte) { return byte != kGarbage; })) {
          fail("a write beyond the shared memory asked for");
        }
      }
    }
  }
}

}  // namespace cuda_on_host

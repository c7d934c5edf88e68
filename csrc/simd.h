#pragma once

// A wheel runs on every x86-64, so nothing is compiled for the machine at hand (no -march=native).
// A function marked MASKRCNN_MULTIVERSION is compiled once for each instruction set named here, and
// the loader picks the best one that the processor has. Write the hot loop into a
// MASKRCNN_INLINE template and call it from a marked plain function. The arithmetic is the same in
// every version: setup.py passes -ffp-contract=off, so no version fuses a multiply with an add.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__CUDACC__)
#define MASKRCNN_MULTIVERSION __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define MASKRCNN_MULTIVERSION
#endif

#if defined(__GNUC__)
#define MASKRCNN_INLINE __attribute__((always_inline)) inline
#else
#define MASKRCNN_INLINE inline
#endif

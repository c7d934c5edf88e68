#pragma once

// What setup.py tells the compiler about the build, as strings. The list of architectures comes
// separated by commas ("8.0,9.0+PTX"), hence the variadic macro.
#define MASKRCNN_STRINGIZE_(...) #__VA_ARGS__
#define MASKRCNN_STRINGIZE(...) MASKRCNN_STRINGIZE_(__VA_ARGS__)

namespace maskrcnn_benchmark {

#if defined(__clang__)
inline constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
inline constexpr const char* kCompiler = "gcc " __VERSION__;
#else
inline constexpr const char* kCompiler = "unknown";
#endif

// Both empty in a build without CUDA kernels.
#if defined(MASKRCNN_CUDA_VERSION)
inline constexpr const char* kCudaVersion = MASKRCNN_STRINGIZE(MASKRCNN_CUDA_VERSION);
inline constexpr const char* kCudaArchs = MASKRCNN_STRINGIZE(MASKRCNN_CUDA_ARCHS);
#else
inline constexpr const char* kCudaVersion = "";
inline constexpr const char* kCudaArchs = "";
#endif

}  // namespace maskrcnn_benchmark

// The operators of implicit_gemm.h. Maps are channels_last.

#include "cpu/implicit_gemm.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "memory_format.h"

namespace maskrcnn_benchmark::cpu {
namespace {

Tensor implicit_gemm_weight(const Tensor& weight, bool int16) {
  const char* op = "implicit_gemm_weight";
  const ConvKernels& kernels = checked_kernels(op, int16);
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) > 0 && weight.size(3) > 0, op,
                  ": weight must have the shape [K, C, H, W], got ", shape_of(weight));
  check_float(op, "weight", weight);
  const int64_t outputs = weight.size(0), channels = weight.size(1), columns = kernels.columns;
  check_channels(op, channels, outputs);
  const int64_t taps = weight.size(2) * weight.size(3), length = taps * channels;
  const int64_t panels = ceil_div(outputs, columns), size = kernels.panel_size(length);
  Tensor packed = new_packed_weight(weight, int16, {panels, 1, size});
  const Tensor filters = torch::stable::contiguous(weight);
  const float* from = filters.const_data_ptr<float>();
  float* to = packed_data(packed);
  torch::stable::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> panel(length * columns);
    for (int64_t i = begin; i < end; ++i) {
      std::fill(panel.begin(), panel.end(), 0.0f);
      for (int64_t k = 0; k < std::min(columns, outputs - i * columns); ++k) {
        const float* filter = from + (i * columns + k) * length;
        for (int64_t c = 0; c < channels; ++c) {
          for (int64_t tap = 0; tap < taps; ++tap) {
            panel[(tap * channels + c) * columns + k] = filter[c * taps + tap];
          }
        }
      }
      kernels.pack_panel(panel.data(), length, to + i * size);
    }
  });
  return packed;
}

Geometry read_geometry(const char* op, const std::vector<int64_t>& numbers) {
  STD_TORCH_CHECK(numbers.size() == 8, op, ": geometry must hold 8 numbers, got ", numbers.size());
  Geometry made{};
  int64_t* const pairs[] = {made.kernel, made.stride, made.padding, made.dilation};
  for (size_t i = 0; i < numbers.size(); ++i) {
    const bool is_padding = pairs[i / 2] == made.padding;
    STD_TORCH_CHECK(numbers[i] >= (is_padding ? 0 : 1), op, ": geometry has no place for ", numbers[i]);
    pairs[i / 2][i % 2] = numbers[i];
  }
  return made;
}

// The size of a convolution's result along y (0) or x (1).
int64_t out_size(const char* op, int64_t size, const Geometry& geometry, int axis) {
  const int64_t reach = geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1;
  const int64_t room = size + 2 * geometry.padding[axis] - reach;
  STD_TORCH_CHECK(room >= 0, op, ": a kernel that reaches over ", reach, " pixels has no place in ", size,
                  " with a padding of ", geometry.padding[axis]);
  return room / geometry.stride[axis] + 1;
}

void check_parts(const char* op, const std::vector<Tensor>& parts) {
  STD_TORCH_CHECK(!parts.empty() && parts[0].dim() == 4, op, ": parts must be maps [N, C, H, W]");
  const Tensor& first = parts[0];
  for (const Tensor& part : parts) {
    check_float(op, "a part", part);
    STD_TORCH_CHECK(part.dim() == 4 && part.size(0) == first.size(0) && part.size(1) > 0 &&
                        part.size(1) % kChannelBlock == 0 && part.size(2) == first.size(2) &&
                        part.size(3) == first.size(3) && is_channels_last(part),
                    op, ": parts must be channels_last, of one size and with a multiple of ", kChannelBlock,
                    " channels, got ", shape_of(first), " and ", shape_of(part));
  }
}

// The convolution of checked parts into `out`, channels_last and of the right size.
void convolve(const char* op, const std::vector<Tensor>& parts, const Tensor& weight,
              const std::optional<Tensor>& bias, const Geometry& geometry, bool add, bool relu, Tensor& out) {
  std::vector<Part> sources;
  int64_t channels = 0, widest = 0;
  for (const Tensor& part : parts) {
    sources.push_back({part.const_data_ptr<float>(), part.size(1)});
    channels += part.size(1);
    widest = std::max(widest, part.size(1));
  }
  const int64_t outputs = out.size(1), taps = geometry.kernel[0] * geometry.kernel[1];
  check_channels(op, channels, outputs);
  const ConvKernels& kernels = kernels_of(op, weight, 1, taps * channels, outputs);
  const std::vector<float> shift = bias_values(op, bias, outputs), zeros(widest, 0.0f);
  const ImplicitGemm convolution{.kernel = kernels,
                                 .parts = std::move(sources),
                                 .geometry = geometry,
                                 .weight = packed_data(weight),
                                 .bias = shift.data(),
                                 .zeros = zeros.data(),
                                 .out = out.mutable_data_ptr<float>(),
                                 .batch = parts[0].size(0),
                                 .height = parts[0].size(2),
                                 .width = parts[0].size(3),
                                 .out_height = out.size(2),
                                 .out_width = out.size(3),
                                 .channels = channels,
                                 .outputs = outputs,
                                 .add = add,
                                 .relu = relu};
  if (convolution.pixels() > 0) {
    convolution.run();
  }
}

Tensor implicit_gemm_conv2d(const std::vector<Tensor>& parts, const Tensor& weight,
                            const std::optional<Tensor>& bias, int64_t out_channels,
                            const std::vector<int64_t>& geometry, bool relu) {
  const char* op = "implicit_gemm_conv2d";
  check_parts(op, parts);
  const Geometry read = read_geometry(op, geometry);
  const int64_t height = out_size(op, parts[0].size(2), read, 0);
  const int64_t width = out_size(op, parts[0].size(3), read, 1);
  Tensor out = empty_as(parts[0], {parts[0].size(0), out_channels, height, width}, /*channels_last=*/true);
  convolve(op, parts, weight, bias, read, /*add=*/false, relu, out);
  return out;
}

void implicit_gemm_conv2d_add_(Tensor out, const std::vector<Tensor>& parts, const Tensor& weight,
                               const std::optional<Tensor>& bias, const std::vector<int64_t>& geometry,
                               bool relu) {
  const char* op = "implicit_gemm_conv2d_add_";
  check_parts(op, parts);
  check_float(op, "out", out);
  const Geometry read = read_geometry(op, geometry);
  STD_TORCH_CHECK(out.dim() == 4 && is_channels_last(out) && out.size(0) == parts[0].size(0) &&
                      out.size(2) == out_size(op, parts[0].size(2), read, 0) &&
                      out.size(3) == out_size(op, parts[0].size(3), read, 1),
                  op, ": out must be channels_last and of the result's size, got ", shape_of(out));
  convolve(op, parts, weight, bias, read, /*add=*/true, relu, out);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CPU, m) {
  m.impl("implicit_gemm_weight", TORCH_BOX(&implicit_gemm_weight));
  m.impl("implicit_gemm_conv2d", TORCH_BOX(&implicit_gemm_conv2d));
  m.impl("implicit_gemm_conv2d_add_", TORCH_BOX(&implicit_gemm_conv2d_add_));
}

}  // namespace maskrcnn_benchmark::cpu

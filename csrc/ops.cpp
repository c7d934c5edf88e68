// Every operator of the library: its name, its arguments, its results.
//
// The kernels register themselves where they are written (cpu/*.cpp, cuda/*.cu). The library speaks
// LibTorch's stable ABI and holds no Python symbol, so one build serves every torch from 2.11 on and
// every Python.

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/version.h>

#include <string>

#include "build_info.h"

namespace {

// What this library was built from, as JSON; read by layers/_extension.py and collect_env.
std::string build_info() {
  return std::string("{\"compiler\": \"") + maskrcnn_benchmark::kCompiler +
         "\", \"torch_headers\": \"" TORCH_VERSION "\", \"cuda\": \"" + maskrcnn_benchmark::kCudaVersion +
         "\", \"cuda_archs\": \"" + maskrcnn_benchmark::kCudaArchs + "\"}";
}

}  // namespace

STABLE_TORCH_LIBRARY(maskrcnn_benchmark, m) {
  m.def("build_info() -> str");

  // boxes [K,4] xyxy, scores [K] -> kept indices int64 [n], descending score
  m.def("nms(Tensor boxes, Tensor scores, float threshold) -> Tensor");
  // boxes [B,K,4], scores [B,K], groups [B,K] int64, valid [B,K] bool
  // -> index int64 [B,max_output] (0 where unused), keep bool [B,max_output]
  m.def(
      "batched_nms(Tensor boxes, Tensor scores, Tensor groups, Tensor valid, float threshold, "
      "int max_output) -> (Tensor index, Tensor keep)");

  // boxes [A,4] or [N,A,4], gt_boxes [N,G,4], gt_valid [N,G] bool -> int64 [N,A]: the ground truth of each
  // box, -1 (background) or -2 (between the thresholds)
  m.def(
      "match_boxes(Tensor boxes, Tensor gt_boxes, Tensor gt_valid, float high_threshold, float "
      "low_threshold, bool allow_low_quality) -> Tensor");

  // features: L x [N,C,Hl,Wl]; rois [K,5] -> [K,C,pooled_h,pooled_w]
  m.def(
      "roi_align(Tensor[] features, Tensor rois, float[] scales, int pooled_h, int pooled_w, "
      "int sampling_ratio, bool channels_last) -> Tensor");
  // grad [K,C,pooled_h,pooled_w]; shapes: (N,C,H,W) of every level, one after another
  m.def(
      "roi_align_backward(Tensor grad, Tensor rois, SymInt[] shapes, float[] scales, int pooled_h, "
      "int pooled_w, int sampling_ratio, bool channels_last) -> Tensor[]");

  // coords [T,2], polygon_starts [Q+1], instance_starts [G+1], instance [R], boxes [R,4]
  // -> uint8 [R,size,size]
  m.def(
      "rasterize_polygons(Tensor coords, Tensor polygon_starts, Tensor instance_starts, "
      "Tensor instance, Tensor boxes, int size) -> Tensor");

  // masks [K,M,M], boxes [K,4] -> COCO's compressed RLE strings: bytes uint8 [T], offsets int64 [K+1]
  m.def(
      "paste_masks_rle(Tensor masks, Tensor boxes, int height, int width, float threshold, "
      "int padding) -> (Tensor bytes, Tensor offsets)");

  // Output channels in a panel of a packed weight; 0 where the processor cannot run these below.
  m.def("winograd_columns() -> int");
  // Words of 32 bits that a panel of 16-bit integers takes; 0 where the processor does not multiply them.
  m.def("int16_panel_size(int channels) -> int");
  // weight [K,C,3,3] -> [panels,36,panel]: float32, or int32 that holds 16-bit integers and their scales
  m.def("winograd_weight(Tensor weight, bool int16) -> Tensor");
  // x [N,C,H,W] channels_last, weight as above, bias [K] -> [N,K,H,W] channels_last: stride 1, padding 1
  m.def("winograd_conv2d(Tensor x, Tensor weight, Tensor? bias, int out_channels, bool relu) -> Tensor");
  // weight [K,C,H,W] -> [panels,1,panel], likewise
  m.def("implicit_gemm_weight(Tensor weight, bool int16) -> Tensor");
  // parts [N,Ci,H,W] channels_last, weight as above for C = C1 + C2 + .., bias [K], geometry: kernel size,
  // stride, padding and dilation, each (y, x) -> [N,K,H',W'] channels_last
  m.def(
      "implicit_gemm_conv2d(Tensor[] parts, Tensor weight, Tensor? bias, int out_channels, int[] geometry, "
      "bool "
      "relu) -> Tensor");
  // The same, added to out [N,K,H',W'] channels_last before the ReLU
  m.def(
      "implicit_gemm_conv2d_add_(Tensor(a!) out, Tensor[] parts, Tensor weight, Tensor? bias, int[] "
      "geometry, bool "
      "relu) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(maskrcnn_benchmark, CompositeExplicitAutograd, m) {
  m.impl("build_info", TORCH_BOX(&build_info));
}

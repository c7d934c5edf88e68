"""Loads the compiled operators (csrc/, which setup.py builds to ``maskrcnn_benchmark/_C.so``)."""

import json
from pathlib import Path

import torch

LIBRARY = Path(__file__).resolve().parent.parent / "_C.so"
OPERATORS = (
    *("nms", "batched_nms", "match_boxes"),
    *("roi_align", "roi_align_backward", "rasterize_polygons", "paste_masks_rle"),
    *("winograd_columns", "winograd_weight", "winograd_conv2d"),
    *("implicit_gemm_weight", "implicit_gemm_conv2d", "implicit_gemm_conv2d_add_", "int16_panel_size"),
)


def load_operators(library: Path = LIBRARY) -> tuple[dict[str, str], str | None]:
    """Registers the operators in ``torch.ops.maskrcnn_benchmark``; loading them again changes nothing.

    Returns:
        What they were built from and for, as compiler, torch_headers, cuda ("13.0") and cuda_archs
        ("8.0,9.0+PTX", both empty without CUDA kernels), and None. Or, if they cannot be loaded, an
        empty dict and the reason.
    """
    if not library.exists():
        return {}, f"{library} does not exist"
    try:
        torch.ops.load_library(library)
        build_info = dict(json.loads(torch.ops.maskrcnn_benchmark.build_info()))
    except (OSError, RuntimeError) as error:
        return {}, f"{library} does not load into torch {torch.__version__}: {error}"
    missing = [name for name in OPERATORS if not hasattr(torch.ops.maskrcnn_benchmark, name)]
    if missing:
        return {}, f"{library} was built from older sources, without {', '.join(missing)}"
    return build_info, None

"""One detection with the installed package: random weights, a drawn picture. Run it from an empty folder."""

import sysconfig
from pathlib import Path

import torch

import maskrcnn_benchmark
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.layers._extension import LOAD_ERROR
from maskrcnn_benchmark.models import mask_rcnn

package = Path(maskrcnn_benchmark.__file__).parent
assert package.is_relative_to(sysconfig.get_path("platlib")), f"not the installed package: {package}"
assert LOAD_ERROR is None, LOAD_ERROR
assert load_config("vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml", []).MODEL.MASK_ON, "the configs are package data"

torch.manual_seed(0)
picture = torch.zeros(3, 240, 320, dtype=torch.uint8)
picture[:, 60:180, 80:240] = 255
with torch.no_grad():
    (found,) = mask_rcnn(backbone="V-39-FPN", num_classes=3).eval()([picture])
assert len(found) > 0 and found.get_field("mask").shape == (len(found), 1, 28, 28)
print(f"maskrcnn_benchmark {maskrcnn_benchmark.__version__} from {package}: {len(found)} detections")

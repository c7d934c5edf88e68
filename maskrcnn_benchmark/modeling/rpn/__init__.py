"""The region proposal network; importing it registers its heads."""

from maskrcnn_benchmark.modeling.rpn.head import RPNHead
from maskrcnn_benchmark.modeling.rpn.rpn import RPN, build_rpn

__all__ = ["RPN", "RPNHead", "build_rpn"]

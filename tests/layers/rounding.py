"""How far two evaluations of the same sums may differ, whatever the order that a processor adds in."""

from __future__ import annotations

from torch import Tensor, finfo


def summation_bound(magnitudes: Tensor, num_terms: int) -> Tensor:
    """Largest difference between two floating-point evaluations of a sum of products.

    Each evaluation is off by at most gamma_n = n u / (1 - n u) times the sum of the magnitudes, in any order,
    fused or not (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Bounds of sums of sums
    add up.

    Args:
        magnitudes: the same sums with every factor replaced by its absolute value; their dtype gives the unit
            roundoff u.
        num_terms: products and biases that are added for one result, over all layers.
    """
    unit = finfo(magnitudes.dtype).eps / 2
    roundings = num_terms + 1  # one more for the rounding of `magnitudes`
    return 2 * roundings * unit / (1 - roundings * unit) * magnitudes

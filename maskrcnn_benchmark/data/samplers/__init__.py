"""Which images make which batch."""

from maskrcnn_benchmark.data.samplers.distributed import DistributedSampler
from maskrcnn_benchmark.data.samplers.grouped_batch_sampler import GroupedBatchSampler
from maskrcnn_benchmark.data.samplers.iteration_based_batch_sampler import IterationBasedBatchSampler
from maskrcnn_benchmark.data.samplers.share_batch_sampler import ShareBatchSampler

__all__ = ["DistributedSampler", "GroupedBatchSampler", "IterationBasedBatchSampler", "ShareBatchSampler"]

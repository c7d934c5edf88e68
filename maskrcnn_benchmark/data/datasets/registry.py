"""Kinds of datasets by name: how each is opened, and how each is scored.

    @DATASETS.register("toy")
    def open_toy(arguments: Mapping[str, Any], options: OpenOptions) -> DetectionDataset: ...

    @EVALUATORS.register("toy")
    class ToyEvaluator:  # structures.evaluation.Evaluator
        def __init__(self, dataset: DetectionDataset, iou_types: Sequence[str]) -> None: ...

A config names a dataset of the kind "toy" as toy://LOCATION, for which `arguments` is {"location": LOCATION};
or a catalogue entry names the kind as its "factory", beside its "args".
"""

from maskrcnn_benchmark.utils.registry import Registry

DATASETS = Registry("the kind of a dataset in DATASETS.TRAIN or DATASETS.TEST")
EVALUATORS = Registry("TEST.EVALUATOR")

"""The hooks that come with the package: records, the progress bar, the best checkpoint, early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.engine.best import best_evaluation, past_evaluations, quality
from maskrcnn_benchmark.engine.checkpointing import RunCheckpointer
from maskrcnn_benchmark.engine.hooks import HOOKS, Hook, TrainState
from maskrcnn_benchmark.structures.evaluation import AP_DECIDES, Deciding
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.metric_writers import MetricWriter, Record, open_metric_writers
from maskrcnn_benchmark.utils.progress import Progress


class RecordWriter(Hook):
    """Hands the records of log lines and evaluations to metric writers, and closes these at the end."""

    def __init__(self, writers: Sequence[MetricWriter]) -> None:
        self.writers = tuple(writers)

    def after_iteration(self, state: TrainState, record: Record | None) -> None:
        if record is not None:
            self._write(record)

    def after_evaluation(self, state: TrainState, results: Mapping[str, float]) -> None:
        self._write({"kind": "evaluation", "iteration": state.iteration, **results})

    def on_end(self, state: TrainState) -> None:
        for writer in self.writers:
            writer.close()

    def on_error(self, state: TrainState, error: BaseException) -> None:
        self.on_end(state)

    def _write(self, record: Record) -> None:
        for writer in self.writers:
            writer.write(record)


class ProgressBar(Hook):
    """A bar over the iterations, where somebody watches the main process's terminal."""

    def on_start(self, state: TrainState) -> None:
        self.progress = Progress(state.iteration, state.max_iter)

    def after_iteration(self, state: TrainState, record: Record | None) -> None:
        self.progress.update()

    def on_end(self, state: TrainState) -> None:
        self.progress.close()

    def on_error(self, state: TrainState, error: BaseException) -> None:
        self.progress.close()


class BestCheckpoint(Hook):
    """Writes model_best after every evaluation that is better than all before; see `quality`."""

    def __init__(self, checkpointer: RunCheckpointer, deciding: Deciding = AP_DECIDES) -> None:
        self.checkpointer = checkpointer
        self.deciding = deciding

    def on_start(self, state: TrainState) -> None:
        self.best = best_evaluation(state.output_dir, self.deciding) if state.iteration else -math.inf

    def after_evaluation(self, state: TrainState, results: Mapping[str, float]) -> None:
        found = quality(results, self.deciding)
        if found > self.best:
            self.best = found
            self.checkpointer.save_weights("model_best", state.iteration, results)


class EarlyStopping(Hook):
    """Stops after `patience` evaluations in a row without a better number than the best before.

    `deciding` says which number; an evaluation without it is not counted. A resumed run counts the
    evaluations in its metrics.jsonl, and so stops where the run that was never interrupted does.
    """

    def __init__(self, patience: int, deciding: Deciding = AP_DECIDES) -> None:
        self.patience = patience
        self.deciding = deciding

    def on_start(self, state: TrainState) -> None:
        self.best, self.without = -math.inf, 0
        if comm.is_main_process():  # its word counts in all, and it alone is handed results
            for results in past_evaluations(state.output_dir):
                self._count(results)
        self._decide(state)

    def after_evaluation(self, state: TrainState, results: Mapping[str, float]) -> None:
        self._count(results)
        self._decide(state)

    def _count(self, results: Mapping[str, object]) -> None:
        found = quality(results, self.deciding)
        if found > self.best:
            self.best, self.without = found, 0
        elif found > -math.inf:
            self.without += 1

    def _decide(self, state: TrainState) -> None:
        if self.without >= self.patience:
            if self.deciding == AP_DECIDES:
                missed = f"no AP above {self.best:.4f}"
            elif self.deciding.higher_is_better:
                missed = f"no {self.deciding.metrics[0]} above {self.best:.4f}"
            else:
                missed = f"no {self.deciding.metrics[0]} below {-self.best:.4f}"
            state.request_stop(f"{missed} in {self.without} evaluations (TEST.EARLY_STOPPING_PATIENCE)")


def make_hooks(cfg: ConfigNode, start: int, deciding: Deciding | None) -> list[Hook]:
    """The hooks of a run: its records, early stopping, and those that SOLVER.HOOKS names.

    start: iterations done so far; a writer drops what an earlier start of the run wrote after them.
    deciding: what early stopping counts by; None where no evaluation gives a number to decide by.

    Raises:
        ValueError: an unknown name, with the known ones; early stopping with nothing to count by.
    """
    patience = cfg.TEST.EARLY_STOPPING_PATIENCE
    if patience and deciding is None:
        raise ValueError(
            f"TEST.EARLY_STOPPING_PATIENCE = {patience}: no evaluation gives a number that decides "
            f"({' or '.join(AP_DECIDES.metrics)}, or the attribute `deciding` of an evaluator); set it to 0"
        )
    builders = [HOOKS[name] for name in cfg.SOLVER.HOOKS]
    writers = open_metric_writers(cfg.OUTPUT_DIR, start, cfg.METRIC_WRITERS) if comm.is_main_process() else []
    hooks: list[Hook] = [RecordWriter(writers)]
    if patience and deciding is not None:
        hooks.append(EarlyStopping(patience, deciding))
    return hooks + [builder(cfg) for builder in builders]

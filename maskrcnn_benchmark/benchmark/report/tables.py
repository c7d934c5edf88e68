"""The tables of a report that look alike in Markdown and HTML: cells of text."""

from __future__ import annotations

from maskrcnn_benchmark.benchmark.published import PublishedRow, published_rows
from maskrcnn_benchmark.benchmark.report.beside_published import label_of, report_groups
from maskrcnn_benchmark.benchmark.report.quantities import (
    NOT_THERE,
    area_text,
    memory_gb,
    milliseconds,
    missing_word,
    number,
    quotient,
    ratio,
    time_ms,
)
from maskrcnn_benchmark.benchmark.results import Results
from maskrcnn_benchmark.benchmark.row import STAGES, Row, StageTimes
from maskrcnn_benchmark.html.tables import Table

STAGE_TITLES = {
    "to_device": "to device",
    "backbone": "backbone",
    "fpn": "FPN",
    "rpn": "RPN",
    "box_head": "box head",
    "mask_head": "mask head",
    "post_processing": "post-processing",
    "mask_pasting": "mask pasting",
}
# What the VoVNet table compares: less time for more AP.
PAIRS = (("V-39", "R-50"), ("V-57", "R-101"))


def pairs_table(results: Results) -> Table | None:
    """Each VoVNet beside the ResNet of its size, time and memory; None where no such two were measured."""
    rows = []
    for group in report_groups(results):
        by_body = {line.body: line for line in group.lines if line.published is not None}
        for small, large in PAIRS:
            if small in by_body and large in by_body:
                one, other = by_body[small], by_body[large]
                cells = [
                    ratio(quotient(getattr(one_beside, side), getattr(other_beside, side)))
                    for one_beside, other_beside in ((one.time, other.time), (one.memory, other.memory))
                    for side in ("measured", "published")
                ]
                rows.append((f"{small} : {large}", group.detector, group.dtype, *cells))
    header = (
        "Pair",
        "Detector",
        "dtype",
        "Inference, measured",
        "published",
        "Train mem, measured",
        "published",
    )
    return Table("VoVNet against the ResNet of its size", header, tuple(rows), 3) if rows else None


def size_table(results: Results) -> Table:
    """Parameters, multiply-accumulates, load and throughput of every row."""
    batches = sorted({entry.batch_size for row in results.rows for entry in row.throughput})
    rows = []
    for row in results.rows:
        training, macs, load = row.training_throughput, row.macs, row.load
        by_batch = {entry.batch_size: entry.images_per_second for entry in row.throughput}
        rows.append(
            (
                *_names(row, results),
                number(None if row.parameters is None else row.parameters / 1e6),
                number(None if macs is None else macs.total / 1e9, 0),
                NOT_THERE if load is None else f"{load.proposals:.0f} / {load.detections:.0f}",
                milliseconds(None if row.inference is None else row.inference.p90_ms),
                *(_throughput(batch, by_batch) for batch in batches),
                number(None if training is None else training.per_process, 2),
                number(None if training is None else training.total, 2),
            )
        )
    header = (
        *("Backbone", "Detector", "dtype", "Parameters (M)", "GMACs", "Proposals / detections", "p90 (ms)"),
        *(f"images/s, batch {batch}" for batch in batches),
        *("Training images/s per process", "in total"),
    )
    return Table("Size, load and throughput", header, tuple(rows), 3)


def stage_table(results: Results) -> Table | None:
    """Median milliseconds by stage; None where no row has them."""
    rows = [
        (
            *_names(row, results),
            *(milliseconds(value) for value in stage_values(row.inference.split).values()),
        )
        for row in results.rows
        if row.inference and row.inference.split
    ]
    header = ("Backbone", "Detector", "dtype", *STAGE_TITLES.values())
    return Table("Time by stage (ms)", header, tuple(rows), 3) if rows else None


def stage_values(split: StageTimes) -> dict[str, float | None]:
    """Milliseconds by the name of the stage, in the order of the detector."""
    return {name: getattr(split, name) for name in STAGES}


def saved_table(results: Results) -> Table | None:
    """The largest entries of what is saved for backward; None unless asked for."""
    rows = []
    for row in results.rows:
        breakdown = row.training_memory.breakdown if row.training_memory else None
        for entry in (breakdown or ())[:12]:
            rows.append((*_names(row, results), entry.module, number(entry.mib), str(entry.tensors)))
    header = ("Backbone", "Detector", "dtype", "Module", "MiB", "Tensors")
    return Table("Saved for backward, the twelve largest", header, tuple(rows), 4) if rows else None


def peers_table(results: Results) -> Table | None:
    """Others' detectors of the same run beside this project's; None without peers."""
    rows = []
    for peer in results.peers:
        ours = next((row for row in results.rows if _same_kind(row, peer)), None)
        memory, time = memory_gb(peer), time_ms(peer)
        our_memory, our_time = (None, None) if ours is None else (memory_gb(ours), time_ms(ours))
        missing = missing_word(peer)
        rows.append(
            (
                *(label_of(peer, results.peers), peer.detector, peer.dtype, peer.implementation),
                *(number(memory, 2, missing), number(our_memory, 2), ratio(quotient(our_memory, memory))),
                *(milliseconds(time, missing), milliseconds(our_time), ratio(quotient(our_time, time))),
            )
        )
    header = (
        *("Backbone", "Detector", "dtype", "Peer", "Peer train mem (GB)", "Ours", "Ours : peer"),
        *("Peer inference (ms)", "Ours", "Ours : peer"),
    )
    return Table("Peers measured in the same run", header, tuple(rows), 4) if rows else None


def published_table() -> Table:
    """Every published row, none of them measured here."""
    rows = tuple(
        (
            *(row.body, row.detector, row.kind),
            *(row.source.title, number(row.memory_gb), _published_time(row)),
            *(area_text(row.box_ap), area_text(row.mask_ap)),
        )
        for row in published_rows()
    )
    header = (
        *("Backbone", "Detector", "Schedule", "Source", "Train mem (GB)", "Inference (ms)"),
        *("Box AP/APs/APm/APl", "Mask AP/APs/APm/APl"),
    )
    return Table("All published rows", header, rows, 4, "None of these numbers was measured here.")


def _names(row: Row, results: Results) -> tuple[str, str, str]:
    return label_of(row, results.rows), row.detector, row.dtype


def _same_kind(row: Row, other: Row) -> bool:
    return (row.name, row.dtype) == (other.name, other.dtype)


def _throughput(batch: int, by_batch: dict[int, float | None]) -> str:
    return number(by_batch[batch], 2, "out of memory") if batch in by_batch else NOT_THERE


def _published_time(row: PublishedRow) -> str:
    time = number(row.milliseconds, 0)
    return time if row.inference_fps is None else f"{time} ({row.inference_fps:g} fps)"

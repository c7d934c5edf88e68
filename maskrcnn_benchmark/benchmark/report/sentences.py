"""The sentences of a report: what was measured where and how, what is missing, where the rest is from."""

from __future__ import annotations

from maskrcnn_benchmark.benchmark.published import Source, published_rows
from maskrcnn_benchmark.benchmark.report.quantities import have_tensors, missing_word
from maskrcnn_benchmark.benchmark.results import Results
from maskrcnn_benchmark.benchmark.row import Row

PROTOCOL_TITLES = {
    "training_memory": "Training memory",
    "tensor_memory": "Tensor memory",
    "inference": "Inference time",
    "split": "Time by stage",
    "throughput": "Inference throughput",
    "training_throughput": "Training throughput",
    "macs": "Multiply-accumulates",
    "load": "Load",
    "ap": "AP",
    "sizes": "Image sizes",
}
HOW_TO_READ = (
    "Measured and published numbers come from different hardware and versions: compare the ratios, not the "
    "numbers. A ratio is to R-50 of the same detector (measured: in the same run and dtype; "
    "published: on the same machine).",
    "GB is 10⁹ bytes. The published tables do not say which GB they mean; this is the stricter reading.",
    "AP in percent, COCO's definition, over all objects and over small, medium and large ones (APs/APm/APl). "
    '"-" where nothing was measured or published.',
)


def headline(results: Results) -> list[str]:
    """What a reader must know before the first number: where, when, and what the numbers are not."""
    environment, settings = results.environment, results.settings
    lines = [
        f"Measured on {environment.device} ({environment.device_type}), {environment.date[:10]}, commit "
        f"{environment.commit}, torch {environment.torch}, {_count(environment.num_threads, 'thread')}."
    ]
    if settings.quick:
        lines.append(
            "A quick run: images and load are reduced, so these numbers compare with each other only."
        )
    if not any(row.ap for row in results.rows):
        lines.append(
            "Random weights under a realistic load, so no AP is measured; any AP shown is the published one."
        )
    if environment.device_type == "cpu":
        lines.append("Training memory on a CPU is resident memory and no GPU's number.")
        if have_tensors(results.rows):
            lines.append("Ratios to R-50, pairs and plots use the peak of tensors beside it.")
    return lines


def unfinished(results: Results) -> list[str]:
    """One sentence for every row, peers included, that did not finish."""
    sentences = []
    for row in (*results.rows, *results.peers):
        if row.reason:
            who = f"{row.name}, {row.dtype}{_of_peer(row, results)}"
            sentences.append(f"{who}: {missing_word(row)}. {' '.join(row.reason.split())}")
    return sentences


def row_notes(results: Results) -> list[str]:
    """The notes on single rows; rows with the same note stand together."""
    notes: dict[str, list[str]] = {}
    for row in (*results.rows, *results.peers):
        for note in row.notes:
            notes.setdefault(note, []).append(f"{row.name}{_of_peer(row, results)}")
    return [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in notes.items()]


def load_sentences(results: Results) -> list[str]:
    """Where the heads' load comes from, each way once."""
    return list(dict.fromkeys(row.load.how for row in (*results.rows, *results.peers) if row.load))


def protocol_lines(results: Results) -> list[tuple[str, str]]:
    """(measure, sentence) of every measure; known ones first, in the order of the tables."""
    names = [*(name for name in PROTOCOL_TITLES if name in results.protocol)]
    names += [name for name in results.protocol if name not in PROTOCOL_TITLES]
    lines = [(PROTOCOL_TITLES.get(name, name), results.protocol[name]) for name in names]
    return [*lines, *(("Where the load comes from", how) for how in load_sentences(results))]


def published_sources() -> list[Source]:
    """The sources of the published rows, each once."""
    return list({row.source.key: row.source for row in published_rows()}.values())


def source_words(source: Source) -> str:
    """Hardware, versions and protocol of a source."""
    return f"commit {source.revision[:7]}: {source.hardware}; {source.versions}; {source.protocol}."


def environment_lines(results: Results) -> list[tuple[str, str]]:
    """The machine, the versions and the settings, by name."""
    environment, settings = results.environment, results.settings
    facts: list[tuple[str, object]] = [
        ("date", environment.date),
        ("commit", environment.commit),
        ("device", f"{environment.device} ({environment.device_type})"),
        ("processor", f"{environment.processor}, {environment.num_cores} cores"),
        ("threads", environment.num_threads),
        ("processes", environment.num_processes),
        ("memory", f"{environment.memory_mib / 1024:.1f} GiB"),
        ("system", environment.system),
        ("python", environment.python),
        ("torch", environment.torch),
        ("torchvision", environment.torchvision),
        ("CUDA", environment.cuda),
        ("cuDNN", environment.cudnn),
        ("driver", environment.driver),
        ("operators", environment.operators),
        *environment.state.items(),
        ("training steps", settings.steps),
        ("images", settings.images),
        ("images per process", settings.images_per_process),
        ("short side, long side at most", f"{settings.short_side}, {settings.long_side}"),
        ("sizes and objects from", settings.sizes_from),
        ("dataset", settings.dataset),
        ("weights", settings.weights_dir),
        ("seed", settings.seed),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _of_peer(row: Row, results: Results) -> str:
    return f" ({row.implementation})" if row in results.peers else ""

"""Says what a weights file is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.classes import class_count, names_of_file
from maskrcnn_benchmark.weights.converters import convert
from maskrcnn_benchmark.weights.foreign_detectors import foreign_detector
from maskrcnn_benchmark.weights.load_checks import with_arithmetic
from maskrcnn_benchmark.weights.matching import is_derived, shortened
from maskrcnn_benchmark.weights.provenance import Provenance, provenance_of
from maskrcnn_benchmark.weights.publish import once_each
from maskrcnn_benchmark.weights.sources.catalogue import entries
from maskrcnn_benchmark.weights.sources.read import RawFile
from maskrcnn_benchmark.weights.unwrap import unwrap

STATISTICS = ("running_mean", "running_var")
SHOWN_CLASSES = 10


@dataclass(frozen=True)
class Inspection:
    """The facts of a file; __str__ has one a line.

    parameters: elements of all weights; tensors under two names count once, statistics of batch norms and
    anchors not. published: the catalogue's entry of a file with this name.
    notes: on how the weights lie in it.
    """

    path: str
    size: int
    kind: str
    source: str
    architecture: str
    tensors: int
    parameters: int
    types: Mapping[str, int]
    classes: int | None
    class_names: Sequence[str] | None
    provenance: Provenance
    not_finite: Sequence[str]
    published: str = ""
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        types = ", ".join(f"{count} {name}" for name, count in self.types.items())
        facts = [
            ("file", f"{self.path} ({self.size / 2**20:.1f} MiB, {self.kind})"),
            ("what", self.source),
            ("row", (self.provenance.row if self.classes else "") or self.architecture),
            ("published", self.published),
            ("tensors", f"{self.tensors} ({types})"),
            ("parameters", f"{self.parameters:,}"),
            ("classes", self._classes()),
            ("iteration", "" if self.provenance.iteration is None else str(self.provenance.iteration)),
            ("metrics", self._metrics()),
            ("config", "inside" if self.provenance.config else "none inside: give --config-file"),
            ("needs", ", ".join(f"{key} {value}" for key, value in self.provenance.requires)),
            *(("note", note) for note in self.notes),
            ("NaN or infinite", shortened(self.not_finite) if self.not_finite else ""),
        ]
        return "\n".join(f"{title:<12} {text}" for title, text in facts if text)

    def _classes(self) -> str:
        if self.classes is None:
            return "none: no detector"
        names = list(self.class_names or ())[1:]
        shown = "names unknown" if not names else ", ".join(names[:SHOWN_CLASSES])
        assumed = "" if self.provenance.class_names else " (assumed: COCO's)" if names else ""
        more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
        return f"{self.classes - 1} and background: {shown}{more}{assumed}"

    def _metrics(self) -> str:
        metrics = self.provenance.metrics
        chosen = {name: value for name, value in metrics.items() if name.endswith("/AP")} or metrics
        return ", ".join(f"{name} {value:.4g}" for name, value in list(chosen.items())[:6])


def inspect(raw: RawFile) -> Inspection:
    """What `raw` is.

    Raises ValueError where it holds no tensors or was written by a newer version of this project.
    """
    provenance = provenance_of(raw)
    unwrapped = unwrap(raw)
    state = unwrapped.state
    converted = None if provenance.is_own else convert(state)
    foreign = None if provenance.is_own else foreign_detector(state)
    if provenance.is_own:
        source = f"this project's, format {provenance.version}"
    elif foreign:
        source = f"{foreign.name}; not converted, other there: {'; '.join(foreign.differs)}"
    else:
        source = converted.source if converted else "names of this project's family, or unknown ones"
    ours = converted.state if converted else state
    count = class_count(ours)
    recorded = provenance.class_names or (converted.class_names if converted else None)
    distinct = dict(once_each(state))
    return Inspection(
        path=str(raw.path),
        size=raw.path.stat().st_size,
        kind=raw.kind,
        source=source,
        architecture=foreign.name
        if foreign
        else architecture_of(ours, converted.body if converted else None),
        tensors=len(state),
        parameters=sum(tensor.numel() for name, tensor in distinct.items() if _is_parameter(name)),
        types=Counter(str(tensor.dtype).removeprefix("torch.") for tensor in state.values()),
        classes=count,
        class_names=None if count is None or foreign else names_of_file(recorded, count),
        provenance=provenance,
        not_finite=[
            name
            for name, tensor in ((name, with_arithmetic(tensor)) for name, tensor in state.items())
            if tensor.is_floating_point() and not tensor.isfinite().all()
        ],
        published=published_as(raw.path.name),
        notes=unwrapped.notes,
    )


def published_as(file: str) -> str:
    """The published row that a file of this name belongs to; "" where it belongs to none, or to several."""
    found = [entry for entry in entries() if entry.file == file]
    if len(found) != 1:
        return ""
    entry = found[0]
    facts = [f"catalog://{entry.name}, going by the file's name"]
    facts += [f"{kind} AP {ap}" for kind, ap in (("box", entry.box_ap), ("mask", entry.mask_ap)) if ap]
    return "; ".join([*facts, entry.note] if entry.note else facts)


def architecture_of(state: Mapping[str, Tensor], body: str | None = None) -> str:
    """Body and kind of detector: "V-39-FPN Mask R-CNN", "V-39 body", "unknown"."""
    body = body or recognize_body(state) or "unknown body"
    if not any(name.startswith("roi_heads.") for name in state):
        return body if body == "unknown body" else f"{body} body (no detector)"
    neck = "-FPN" if any(name.startswith("backbone.fpn.") for name in state) else ""
    kind = "Mask R-CNN" if any(name.startswith("roi_heads.mask.") for name in state) else "Faster R-CNN"
    return f"{body}{neck} {kind}"


def _is_parameter(name: str) -> bool:
    return not is_derived(name) and not name.endswith(STATISTICS)

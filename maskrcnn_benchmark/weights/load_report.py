"""What loading a weights file did, or why the file does not fit: the likely cause, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.classes import ClassTable
from maskrcnn_benchmark.weights.matching import WeightMatch, is_of_body, shortened

PARTIAL = "To take what fits and leave the rest at its initial values, say MODEL.WEIGHT_PARTIAL True"
# The published VoVNet detectors whose first files name the stem differently from their code.
REPUBLISHED = ("V-39", "V-57")
MASK_HEAD = "roi_heads.mask."


@dataclass
class LoadReport:
    """What one load did; the loader logs and returns it.

    path: the file; "" where none was given. source: what it is, in words. loaded: entry of the model -> entry
    of the file. kept: entries of the model that keep their initial values. unused: entries of the file that
    fit nowhere. dropped: entries left out on purpose, such as a classifier. classes: what became of the
    class-dependent layers where the file's classes are not the model's. notes, warnings: sentences. extra:
    what else the file holds, such as the iteration.
    """

    path: str = ""
    source: str = ""
    loaded: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    dropped: tuple[str, ...] = ()
    classes: ClassTable | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.path:
            return "No weights given: the model keeps its initial values"
        lines = [f"Weights from {self.path}: {self.source}", f"{len(self.loaded)} entries loaded"]
        for title, names in (
            ("initial values kept for", self.kept),
            ("not used of the file", self.unused),
            ("left out on purpose", self.dropped),
        ):
            if names:
                lines.append(f"{title}: {shortened(names)}")
        lines += self.notes
        lines += [f"WARNING: {text}" for text in self.warnings]
        return "\n  ".join(lines + (str(self.classes).splitlines() if self.classes else []))


def explain(
    where: str, match: WeightMatch, state: Mapping[str, Tensor], model_state: Mapping[str, Tensor]
) -> str:
    """The message for a file that does not cover what it is wanted for."""
    theirs, ours = recognize_body(state), recognize_body(model_state)
    if match.is_body:
        return body_alone(where, theirs, match.missing)
    if theirs and ours and theirs != ours:
        return f"{where}: this file is {theirs}, the config builds {ours}{_wrong_link(theirs, ours)}. {match}"
    if _lacks_stem(match) and ours in REPUBLISHED:
        return (
            f"{where}: only the stem's names do not fit, as in the first published {ours} detector files, "
            "which give an AP of 0.005 when loaded without it; their replacements are called *-2x-norm.pth: "
            f"take FRCN-{ours}-FPN-2x-norm.pth or MRCN-{ours}-FPN-2x-norm.pth. {match}"
        )
    if not match.loaded:
        return f"{where}: no entry fits the model, they are of another architecture: {match}"
    return f"{where} are of another architecture: {_other_detector(match)}{match}. {PARTIAL}"


def body_alone(where: str, body: str | None, missing: Sequence[str]) -> str:
    """The message for a body where a whole detector is wanted.

    missing: the detector's entries that the file does not hold; counted by module.
    """
    modules = Counter(".".join(name.split(".")[:-1][:2]) for name in missing)
    counts = ", ".join(f"{module} {count}" for module, count in modules.items())
    return (
        f"{where}: a body alone ({body or 'of a structure unknown here'}), as training starts from it. "
        f"{len(missing)} entries of the detector are missing and would stay random: {counts}. Give the file "
        "of a trained detector (MODEL.WEIGHT path.pth, or --ckpt path.pth), or train one from this body "
        "first (maskrcnn-benchmark train). To take the body and leave the rest random, say "
        "MODEL.WEIGHT_PARTIAL True"
    )


def _lacks_stem(match: WeightMatch) -> bool:
    """Whether a detector's file fits but for entries of the stem that go by names the model does not have."""
    return (
        bool(match.missing)
        and not all(map(is_of_body, match.loaded))
        and all(".stem." in key for key in match.missing)
        and all("stem" in key for key in match.unexpected)
        and not match.wrong_shape
    )


def _wrong_link(theirs: str, ours: str) -> str:
    if (theirs, ours) != ("V-39", "V-57"):
        return ""
    return (
        " (a published table's link for V-57 Mask R-CNN gives the V-39 file, MRCN-V-39-FPN-2x.pth; the right "
        "one is called MRCN-V-57-FPN-2x-norm.pth)"
    )


def _other_detector(match: WeightMatch) -> str:
    """Whether it is the other of Faster and Mask R-CNN."""
    if match.wrong_shape:
        return ""
    if match.missing and not match.unexpected and all(key.startswith(MASK_HEAD) for key in match.missing):
        return "it is a Faster R-CNN and the config builds a Mask R-CNN (MODEL.MASK_ON False tests it); "
    if match.unexpected and not match.missing and all(key.startswith(MASK_HEAD) for key in match.unexpected):
        return "it is a Mask R-CNN and the config builds a Faster R-CNN (MODEL.MASK_ON True adds the head); "
    return ""

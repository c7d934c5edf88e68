"""The names of backbones: as configs spell them ("V-39-FPN") and as Python does (vovnet39_fpn)."""

from __future__ import annotations

import difflib
import fnmatch
import re

from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.registry import BACKBONES

assert callable(build_backbone)  # importing it fills the registry

NECKS = {"-FPN": "_fpn", "-FPNLite": "_fpnlite", "-C4": "_c4", "-C5": ""}
FAMILIES = (  # the beginning of a name in configs, and in Python
    (r"^V2-", "vovnetv2_"),
    (r"^V-", "vovnet"),
    (r"^R-", "resnet"),
    (r"^X-", "resnext"),
    (r"^W-", "wide_resnet"),
    (r"^MobileNet-V", "mobilenet_v"),
    (r"^VGG-", "vgg"),
)


def list_backbones(pattern: str = "*") -> list[str]:
    """The names of all backbones that match a shell pattern, such as "V-*" or "*-FPN", sorted."""
    return sorted(fnmatch.filter(BACKBONES, pattern))


def body_and_neck(backbone: str) -> tuple[str, str]:
    """("V-39", "-FPN") of "V-39-FPN"."""
    body, dash, neck = backbone.rpartition("-")
    return body, dash + neck


def check_backbone(name: str) -> None:
    """Refuses an unknown name with a ValueError that lists the nearest; Python's spelling counts as near."""
    if name in BACKBONES:
        return
    spelled = {backbone.lower(): backbone for backbone in BACKBONES} | python_names()
    near = difflib.get_close_matches(name.lower(), spelled, n=6, cutoff=0.5)
    nearest = list(dict.fromkeys(spelled[each] for each in near))[:3]
    hint = f"nearest: {', '.join(nearest)}; " if nearest else ""
    raise ValueError(f"backbone {name!r} is not known; {hint}list_backbones() gives all {len(BACKBONES)}")


def python_names() -> dict[str, str]:
    """Python name -> config name of every backbone: vovnet39_fpn -> V-39-FPN, vgg16 -> VGG-16-C5."""
    return {python_name(backbone): backbone for backbone in list_backbones()}


def python_name(backbone: str) -> str:
    """The name in Python's spelling; a body without a pyramid goes without a suffix."""
    body, neck = body_and_neck(backbone)
    for start, spelled in FAMILIES:
        body = re.sub(start, spelled, body)
    return re.sub(r"\W", "_", body).lower() + NECKS[neck]


def unknown(name: str, known: list[str], where: str) -> str:
    """What to say of a name that does not exist: the nearest ones."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return f"{where} has no {name!r}{hint}"

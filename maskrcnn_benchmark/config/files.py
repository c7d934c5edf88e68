"""Where a config file is: at its path, or among the configs that come with the package."""

from __future__ import annotations

import difflib
from pathlib import Path

SUFFIX = ".yaml"


def packaged_configs() -> Path:
    """The folder of the configs that come with the package: inside it, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def find_config(name: str) -> Path | None:
    """The file that `name` means; None where there is none.

    A file at that path comes first. Otherwise `vovnet/x.yaml` and `configs/vovnet/x.yaml` are looked up among
    the configs of the package.
    """
    path = Path(name)
    if path.is_file():
        return path
    if not path.is_absolute():
        parts = path.parts[1:] if path.parts[:1] == ("configs",) else path.parts
        packaged = packaged_configs().joinpath(*parts)
        if ".." not in parts and packaged.is_file():
            return packaged
    return None


def list_configs() -> list[str]:
    """The configs of the package, as `find_config` takes them: `vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml`."""
    folder = packaged_configs()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*{SUFFIX}"))


def nearest_configs(name: str) -> list[str]:
    """Up to three configs of the package whose file names are like that of `name`."""
    by_stem = {Path(config).stem: config for config in list_configs()}
    near = difflib.get_close_matches(Path(name).stem, by_stem, n=3, cutoff=0.6)
    return [by_stem[stem] for stem in near]

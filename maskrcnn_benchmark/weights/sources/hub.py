"""Files of Hugging Face repositories, through huggingface_hub and its own cache (an optional extra)."""

from __future__ import annotations

import re
from pathlib import Path

HUB = "hf://"
FORM = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w.-]+))?/([^@]+)")


def fetch_from_hub(address: str) -> Path:
    """The file at hf://owner/name/file (hf://owner/name@revision/file for one revision), in the Hub's cache.

    Raises ValueError for an address of another form, without huggingface_hub, and where neither the Hub nor
    its cache gives the file.
    """
    repository, revision, name = _parts(address)
    try:
        import huggingface_hub
    except ImportError as error:
        raise ValueError(f'{address} needs huggingface_hub: pip install "maskrcnn-benchmark[hub]"') from error
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
    except Exception as error:  # its client raises errors of several libraries
        cache = huggingface_hub.constants.HF_HUB_CACHE
        raise ValueError(
            f"{address}: {type(error).__name__}: {str(error).strip()}\n"
            f"Without a connection, run `hf download {repository} {name}` where there is one and copy the "
            f"repository's folder of its cache to {cache}, or give the path of the file itself"
        ) from error


def in_hub_cache(address: str) -> Path | None:
    """The file at an hf:// address if the Hub's cache has it; None also without huggingface_hub."""
    repository, revision, name = _parts(address)
    try:
        import huggingface_hub
    except ImportError:
        return None
    found = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _parts(address: str) -> tuple[str, str | None, str]:
    """Repository, revision (None: the newest) and file."""
    parts = FORM.fullmatch(address)
    if parts is None:
        raise ValueError(f"{address!r}: write hf://owner/name/file or hf://owner/name@revision/file")
    return parts[1], parts[2], parts[3]

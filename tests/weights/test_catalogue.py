"""The catalogue: every entry well-formed and as its publisher's own package has it; names become paths."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torchvision
import yaml
from torchvision.models import get_model_weights, list_models

from maskrcnn_benchmark.config.paths_catalog import ModelCatalog
from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.backbone import build_backbone  # noqa: F401  # registers the bodies
from maskrcnn_benchmark.weights.sources.catalogue import LINKS, CatalogueEntry, alternatives, entries
from maskrcnn_benchmark.weights.sources.resolve import cached, fetch, resolve_weights

ROOT = Path(__file__).parents[2]
ENTRIES = entries()
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
HTTP = re.compile(r"https://[\w.-]+/[\w./%?=-]+")
HUB = re.compile(r"hf://[\w.-]+/[\w.-]+/[\w.-]+")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that nothing of the user's is read or written."""
    monkeypatch.setenv("MASKRCNN_BENCHMARK_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("MASKRCNN_BENCHMARK_MIRROR", raising=False)
    return tmp_path


def put(entry: CatalogueEntry, folder: Path, content: bytes = b"weights") -> Path:
    """A file laid into the cache by hand."""
    path = folder / "weights" / entry.place
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_names_places_and_addresses_are_unique() -> None:
    assert len(ENTRIES) > 100
    for what in ("name", "place"):
        assert len({getattr(entry, what) for entry in ENTRIES}) == len(ENTRIES)
    urls = [url for entry in ENTRIES for url in entry.urls]
    assert len(set(urls)) == len(urls)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_well_formed(entry: CatalogueEntry) -> None:
    assert entry.kind in ("body", "detector")
    assert entry.link in LINKS
    assert entry.description and entry.publisher and entry.link_note
    assert entry.page.startswith("https://")
    assert re.fullmatch(r"[\w.-]+\.(pth|pkl|tar|safetensors)", entry.file)
    assert all(HTTP.fullmatch(url) or HUB.fullmatch(url) for url in entry.urls)
    assert entry.urls or (entry.note and entry.superseded_by)
    assert entry.sha256 is None or re.fullmatch("[0-9a-f]{8,64}", entry.sha256)
    assert entry.sha1 is None or re.fullmatch("[0-9a-f]{8,40}", entry.sha1)
    assert entry.superseded_by is None or ModelCatalog.entry(entry.superseded_by)
    for number in (entry.box_ap, entry.mask_ap, entry.top1):
        assert number is None or 1 < number < 100
    assert (entry.row is None) == (entry.kind == "body")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_bodies_exist(entry: CatalogueEntry) -> None:
    assert entry.body in registry.BODIES
    if entry.row:
        assert entry.row.split()[0] in registry.BACKBONES


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.config], ids=lambda entry: entry.name)
def test_configs_exist_and_build_the_row(entry: CatalogueEntry) -> None:
    assert entry.config and entry.row
    model = yaml.safe_load((ROOT / entry.config).read_text())["MODEL"]
    backbone, detector, _ = entry.row.split(maxsplit=2)
    spelling = re.sub(r"X-(\d+)-\w+-FPN", r"R-\1-FPN", backbone)  # the family's name of a ResNeXt
    assert model["BACKBONE"]["CONV_BODY"] in (backbone, spelling)
    assert model.get("MASK_ON", False) == (detector == "Mask")
    one_module_a_stage = entry.body.startswith("V2-19")
    if entry.publisher == "vovnet-detectron2" and not one_module_a_stage:
        assert model["VOVNET"]["SQUEEZE_EVERY_MODULE"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_catalogue_names_in_configs_are_known(config: Path) -> None:
    for name in re.findall(r"catalog://([\w./-]+)", config.read_text()):
        assert ModelCatalog.get(name)


def test_torchvision_entries_are_what_the_installed_torchvision_has() -> None:
    """Addresses, hashes (the digits in the file's name), sizes and accuracies."""
    published = {
        weights.url: weights.meta
        for name in list_models(module=torchvision.models)
        for weights in get_model_weights(name)
    }
    ours = [entry for entry in ENTRIES if entry.publisher == "torchvision"]
    assert len(ours) == 29
    for entry in ours:
        meta = published[entry.urls[0]]
        assert entry.sha256 and entry.file.endswith(f"-{entry.sha256}.pth")
        assert entry.size_mib == meta["_file_size"]
        assert entry.top1 == meta["_metrics"]["ImageNet-1K"]["acc@1"]


def test_timm_entries_are_what_the_installed_timm_has() -> None:
    timm = pytest.importorskip("timm")
    ours = [entry for entry in ENTRIES if entry.publisher == "timm"]
    assert len(ours) == 3
    for entry in ours:
        name = entry.name.rpartition("/")[2]
        source = timm.get_pretrained_cfg(name)
        assert source.hf_hub_id == f"timm/{name}"
        assert entry.urls[0] == f"hf://timm/{name}/{timm.models._hub.HF_SAFE_WEIGHTS_NAME}"
        assert entry.licence == "Apache 2.0" and source.license == "apache-2.0"


def test_the_plain_address_of_a_hub_file_is_the_hubs() -> None:
    hub = pytest.importorskip("huggingface_hub")
    for entry in ENTRIES:
        if entry.urls and entry.urls[0].startswith("hf://"):
            owner, name, file = entry.urls[0].removeprefix("hf://").split("/")
            assert entry.urls[1] == hub.hf_hub_url(f"{owner}/{name}", file, endpoint="https://huggingface.co")


def test_pytorchcv_entries_are_what_the_installed_pytorchcv_has() -> None:
    pytorchcv = pytest.importorskip("pytorchcv")
    table = Path(pytorchcv.__file__).parent / "models/common/model_metainfos.csv"
    with open(table, newline="") as file:
        rows = {row["model_name"]: row for row in csv.DictReader(file)}
    ours = [entry for entry in ENTRIES if entry.publisher == "pytorchcv"]
    assert len(ours) == 3
    for entry in ours:
        row = rows[entry.name.rpartition("/")[2]]
        assert entry.sha1 == row["checksum"]
        assert entry.member == f"{row['model_name']}-{row['error_value']}-{row['checksum'][:8]}.pth"
        assert entry.urls[0].endswith(f"/releases/download/{row['repo_release_tag']}/{entry.member}.zip")


@pytest.mark.parametrize("detector", ["FRCN-V-39", "FRCN-V-57", "MRCN-V-39", "MRCN-V-57"])
def test_the_first_vovnet_detectors_name_their_replacements(detector: str) -> None:
    """The first files do not match their own code's stem names; the V-57 Mask link led to the V-39 file."""
    first = ModelCatalog.entry(f"VoVNet/{detector}-FPN-2x")
    assert first.superseded_by == f"VoVNet/{detector}-FPN-2x-norm"
    assert first.box_ap is None  # the published AP is that of the replacement
    assert ModelCatalog.entry(first.superseded_by).box_ap
    if detector == "MRCN-V-57":
        assert not first.urls and "MRCN-V-39-FPN-2x.pth" in first.note
    else:
        assert all(first.file in url for url in first.urls) and "0.005 AP" in first.note


def test_every_dead_vovnet_body_has_a_living_source_or_none_is_claimed() -> None:
    living = {entry.body for entry in ENTRIES if entry.kind == "body" and entry.link == "alive"}
    assert {"V-27-slim", "V-39", "V-57", "V2-19-dw", "V2-39", "V2-57"} <= living
    for body in ("V-39", "V-57"):
        dead = ModelCatalog.entry(f"ImageNetPretrained/VoVNet/{body}")
        assert dead.link == "dead"
        assert [entry.publisher for entry in alternatives(dead)] == ["pytorchcv"]


def test_a_plain_path_comes_back_as_it_is() -> None:
    for path in ("model.pth", "./some folder/model.pth", "/abs/olute.pkl"):
        assert resolve_weights(path) == Path(path)


@pytest.mark.parametrize("name", ["s3://bucket/a.pth", "ftp://host/a.pth", "file:///etc/passwd"])
def test_another_scheme_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*catalog://NAME"):
        resolve_weights(name)


def test_an_unknown_name_comes_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'ImageNetPretrained/pytorchcv/vovnet39'"):
        resolve_weights("catalog://ImageNetPretrained/pytorchcv/vovnet_39")


def test_a_name_its_address_and_the_familys_spelling_are_one_file(cache: Path) -> None:
    """The family's configs give the published address as MODEL.WEIGHT."""
    entry = ModelCatalog.entry("ImageNetPretrained/VoVNet/V-93")
    assert cached(entry) is None
    path = put(entry, cache)
    assert cached(entry) == path
    assert fetch(entry.name) == fetch(f"catalog://{entry.name}") == path
    assert resolve_weights(f"catalog://{entry.name}") == path
    assert (
        resolve_weights("https://dl.dropbox.com/s/qtly316zv1isn0t/vovnet93_statedict_norm.pth.tar?dl=1")
        == path
    )


def test_a_known_hash_is_checked(cache: Path) -> None:
    entry = ModelCatalog.entry("ImageNetPretrained/torchvision/resnet18-IMAGENET1K_V1")
    put(entry, cache)
    with pytest.raises(ValueError, match=r"its sha256 begins [0-9a-f]{8} and not f37072fd"):
        fetch(entry.name)


def test_a_failure_names_a_living_source_and_the_replacement(cache: Path) -> None:
    with pytest.raises(ValueError) as caught:
        fetch("VoVNet/MRCN-V-57-FPN-2x")
    message = str(caught.value)
    assert str(cache / "weights/VoVNet/MRCN-V-57-FPN-2x/MRCN-V-57-FPN-2x.pth") in message
    assert "catalog://VoVNet/MRCN-V-57-FPN-2x-norm" in message
    assert "catalog://ImageNetPretrained/pytorchcv/vovnet57" in message

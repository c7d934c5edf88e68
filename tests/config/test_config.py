"""Configurations: what is accepted, what is refused and in which words, and the scaling of schedules."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_benchmark.config import ConfigError, cfg, describe_scaling, load_config, load_config_text
from maskrcnn_benchmark.config.files import find_config, list_configs, packaged_configs
from maskrcnn_benchmark.config.not_implemented import NOT_IMPLEMENTED

V39 = "configs/vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml"


def write(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text)
    return str(path)


def test_unknown_key_names_file_key_and_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "MODEL:\n  MASKS_ON: True\n")
    with pytest.raises(
        ConfigError, match=r"config\.yaml: unknown key MODEL\.MASKS_ON; nearest known: MODEL\.MASK_ON"
    ):
        load_config(path)


def test_key_in_the_wrong_section_is_found_by_its_last_name() -> None:
    with pytest.raises(ConfigError, match=r"MODEL\.ROI_BOX_HEAD\.NUM_CLASSES"):
        load_config(None, ["NUM_CLASSES", "3"])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("MODEL.MASK_ON", "yes", "expected bool"),
        ("SOLVER.MAX_ITER", "1.5", "expected int"),
        ("SOLVER.BASE_LR", "fast", "expected float"),
        ("SOLVER.STEPS", "(3, 'a')", r"STEPS\[1\]"),
        ("MODEL.RPN", "1", "is a section"),
        ("DTYPE", "float8", "'bfloat16'"),
        ("MODEL.DEVICE", "gpu", "'cuda'"),
        ("SOLVER.STEPS", "(20, 10)", "ascend"),
        ("SOLVER.IMS_PER_BATCH", "0", "at least 1"),
        ("MODEL.ROI_HEADS.NMS", "1.5", "between 0 and 1"),
        ("SOLVER.ACCUMULATION_STEPS", "3", "not divisible"),
        ("MODEL.RETINANET_ON", "True", "not implemented"),
        ("TEST.BBOX_AUG.ENABLED", "True", "not implemented"),
    ],
)
def test_unusable_values_are_refused_by_name(key: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        load_config(None, [key, value])
    assert key.split(".")[-1] in str(caught.value)


def test_every_unimplemented_key_is_accepted_at_the_familys_default() -> None:
    opts = [item for key, value in NOT_IMPLEMENTED.items() for item in (key, value)]
    assert load_config(None, opts) == load_config()


def test_a_resolved_configuration_loads_as_itself(tmp_path: Path) -> None:
    resolved = load_config(V39, ["SOLVER.IMS_PER_BATCH", "2"])
    assert load_config(write(tmp_path, resolved.dump())) == resolved


def test_text_integers_and_lists_take_the_type_of_the_default() -> None:
    resolved = load_config(
        None, ["SOLVER.BASE_LR", "1", "SOLVER.STEPS", "[5, 6]", "SOLVER.WEIGHT_DECAY", "1e-4"]
    )
    assert resolved.SOLVER.BASE_LR == 1.0 and isinstance(resolved.SOLVER.BASE_LR, float)
    assert resolved.SOLVER.STEPS == (5, 6)
    assert resolved.SOLVER.WEIGHT_DECAY == 1e-4


def test_missing_or_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(str(tmp_path / "absent.yaml"))
    with pytest.raises(ConfigError, match="not a yaml file"):
        load_config(write(tmp_path, "MODEL: [1, 2"))
    with pytest.raises(ConfigError, match="stands alone"):
        load_config(None, ["DTYPE"])


def test_a_frozen_configuration_cannot_change_and_the_shared_default_did_not() -> None:
    resolved = load_config(V39)
    with pytest.raises(AttributeError):
        resolved.merge_from_list(["DTYPE", "bfloat16"])
    assert cfg.MODEL.MASK_ON is False


def test_learning_rate_and_schedule_follow_the_batch() -> None:
    solver = load_config(V39, ["SOLVER.IMS_PER_BATCH", "2"]).SOLVER
    assert (solver.BASE_LR, solver.MAX_ITER, solver.STEPS) == (0.0025, 1440000, (960000, 1280000))
    text = describe_scaling(V39, ["SOLVER.IMS_PER_BATCH", "2"])
    assert "0.02 x 2/16 = 0.0025" in text and "180000 x 16/2 = 1440000" in text


@pytest.mark.parametrize(
    ("opts", "reason"),
    [
        (["SOLVER.IMS_PER_BATCH", "16"], "as the config has it"),
        (["SOLVER.IMS_PER_BATCH", "2", "SOLVER.AUTO_SCALE", "False"], "AUTO_SCALE is off"),
        (["SOLVER.IMS_PER_BATCH", "2", "SOLVER.BASE_LR", "0.02"], "BASE_LR given"),
    ],
)
def test_schedule_is_left_alone(opts: list[str], reason: str) -> None:
    assert load_config(V39, opts).SOLVER.MAX_ITER == 180000
    assert load_config(V39, opts).SOLVER.BASE_LR == 0.02
    assert reason in describe_scaling(V39, opts)


def test_a_config_of_the_package_is_found_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_config(V39)
    monkeypatch.chdir(tmp_path)
    assert load_config(V39) == expected
    assert load_config(V39.removeprefix("configs/")) == expected
    # a file of that name that is here comes first
    here = tmp_path / V39
    here.parent.mkdir(parents=True)
    here.write_text("SEED: 5\n")
    assert load_config(V39).SEED == 5
    assert load_config(V39.removeprefix("configs/")) == expected


@pytest.mark.parametrize("name", ["e2e_mask_rcnn_V_39_FPN_2x.yaml", "configs/e2e_mask_rcnn_V39_FPN_2x.yaml"])
def test_a_config_that_is_nowhere_names_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match=r"does not exist.*vovnet/e2e_mask_rcnn_V_39_FPN_2x\.yaml"):
        load_config(name)


def test_configs_are_not_looked_up_outside_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (packaged_configs() / "../setup.py").is_file()
    for name in ("../setup.py", "configs/../setup.py", "/setup.py"):
        assert find_config(name) is None
    names = list_configs()
    assert "quick/mask_rcnn_V_39_FPN_gn_shapes.yaml" in names
    assert all(find_config(name) == packaged_configs() / name for name in names)


def test_imports_are_names_and_loading_imports_nothing(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text("raise AssertionError('run by loading a config')\n")
    path = write(tmp_path, f"IMPORTS: ['{module}']\n")
    imports = load_config(path, imports=["other", str(module)]).IMPORTS
    assert imports == (str(module), "other")
    with pytest.raises(ConfigError, match=r"IMPORTS = \(3,\) must be names"):
        load_config(None, ["IMPORTS", "(3,)"])


def test_early_stopping_needs_evaluations() -> None:
    with pytest.raises(ConfigError, match=r"EARLY_STOPPING_PATIENCE = 2 .* set TEST\.EVAL_PERIOD too"):
        load_config(None, ["TEST.EARLY_STOPPING_PATIENCE", "2"])


def test_what_a_file_of_weights_wants_imported_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Unless the user names it; the message says how."""
    text = "IMPORTS: ['evil', 'more.evil']\nPATHS_CATALOG: evil.py\nSEED: 4\n"
    cfg = load_config_text(text, "w.safetensors")
    assert (cfg.IMPORTS, cfg.PATHS_CATALOG, cfg.SEED) == ((), "", 4)
    messages = [record.getMessage() for record in caplog.records]
    assert any("w.safetensors" in m and "--import evil --import more.evil" in m for m in messages)
    assert any("PATHS_CATALOG evil.py" in m for m in messages)
    caplog.clear()
    allowed = load_config_text(text, "w.safetensors", ["IMPORTS", "('evil',)"], ["more.evil", "mine"])
    assert allowed.IMPORTS == ("evil", "more.evil", "mine")
    assert not any("IMPORTS" in record.getMessage() for record in caplog.records)

"""What is wrong with a dataset is told before anything runs: file, id, reason, mend."""

import pytest
import torch
from data.conftest import small_content

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets import DatasetError
from maskrcnn_benchmark.data.datasets.detection_dataset import predictions_of_index


def load(entry: str, *opts: str, is_train: bool = True):
    options = ["MODEL.MASK_ON", "True", "MODEL.ROI_BOX_HEAD.NUM_CLASSES", "3", "DATALOADER.NUM_WORKERS", "0"]
    options += ["DATASETS.TRAIN", f"('{entry}',)", "DATASETS.TEST", f"('{entry}',)", *opts]
    return make_data_loader(load_config(None, options), is_train=is_train)


def set_annotation(**values):
    def change(content: dict) -> None:
        content["annotations"][3].update(values)

    return change


def set_image(**values):
    def change(content: dict) -> None:
        content["images"][1].update(values)

    return change


WRONG_CONTENT = {
    "duplicate image id": (set_image(id=4), r"image 4: this id occurs 2 times; give every image its own id"),
    "duplicate annotation id": (set_annotation(id=100), r"annotation 100: this id occurs 2 times; give"),
    "duplicate category id": (
        lambda content: content["categories"][0].update(id=3),
        r"category 3: this id occurs 2 times",
    ),
    "no categories": (lambda content: content["categories"].clear(), r"categories: the list is empty"),
    "absent image": (set_image(file_name="gone.png"), r"image 14: .*gone\.png does not exist; add the file"),
    "image without size": (set_image(width=0), r"image 14: no usable size \(width 0, height 42\); give"),
    "image without name": (set_image(file_name=None), r"image 14: no file_name"),
    "annotation without id": (
        lambda content: content["annotations"][3].pop("id"),
        r"annotation number 3: no whole number as id",
    ),
    "negative id": (set_annotation(id=-3), r"annotation -3: no whole number as id; .* from 0 to"),
    "vast image id": (set_image(id=2**70), r"image \d+: no whole number as id; .* from 0 to 2\*\*63 - 1"),
    "image id in a list": (set_annotation(image_id=[4]), r"annotation 103: image_id \[4\] is not listed"),
    "label in a list": (set_annotation(category_id=[3]), r"annotation 103: label out of range: .* \[3\]; "),
    "crowd as text": (set_annotation(iscrowd="0"), r"annotation 103: iscrowd is '0'; write 0 or 1, or"),
    "run length of no size": (
        set_annotation(segmentation={"size": 9, "counts": [81]}),
        r"annotation 103: run length of size 9, but its image has \[height, width\] \[42, 48\]",
    ),
    "unknown image": (set_annotation(image_id=999), r"annotation 103: image_id 999 is not listed"),
    "label": (set_annotation(category_id=4), r"annotation 103: label out of range: category_id 4; .* 3, 7"),
    "no box": (set_annotation(bbox=[1, 2, 3]), r"annotation 103: bbox is \[1, 2, 3\]; write \[x, y, width"),
    "box of text": (set_annotation(bbox=[1, 2, 3, "4"]), r"annotation 103: bbox is .*; write \[x, y"),
    "box not finite": (set_annotation(bbox=[1, 2, 3, float("nan")]), r"annotation 103: bbox is .*nan"),
    "empty polygon": (set_annotation(segmentation=[[]]), r"annotation 103: polygon 0 is empty; remove it"),
    "odd polygon": (
        set_annotation(segmentation=[[1, 1, 9, 1, 9, 9], [1, 2, 3, 4, 5, 6, 7]]),
        r"annotation 103: polygon 1 has an odd number of values \(7\); write each polygon as \[x1, y1",
    ),
    "polygon not finite": (
        set_annotation(segmentation=[[1, 1, 9, 1, 9, float("inf")]]),
        r"annotation 103: polygon 0 holds something that is not a finite number",
    ),
    "polygon of text": (
        set_annotation(segmentation=[[1, 1, 9, "1", 9, 9]]),
        r"annotation 103: polygon 0 holds something that is not a finite number",
    ),
    "polygon not in a list": (
        set_annotation(segmentation=[1, 1, 9, 1, 9, 9]),
        r"annotation 103: segmentation is neither a list of polygons nor a run length",
    ),
    "run length of another size": (
        set_annotation(segmentation={"size": [9, 9], "counts": [81]}),
        r"annotation 103: run length of size \[9, 9\], but its image has \[height, width\] \[42, 48\]; ",
    ),
    "crowd of another size": (
        set_annotation(iscrowd=1, segmentation={"size": [9, 9], "counts": [81]}),
        r"annotation 103: run length of size \[9, 9\]",
    ),
    "run length too short": (
        set_annotation(segmentation={"size": [42, 48], "counts": [5, 6]}),
        r"annotation 103: run length covers 11 pixels, its image has 2016",
    ),
    "compressed run length broken": (
        set_annotation(segmentation={"size": [42, 48], "counts": "50"}),
        r"annotation 103: run length covers 5 pixels, its image has 2016",
    ),
    "run length of a wrong kind": (
        set_annotation(segmentation={"size": [42, 48], "counts": [-5, 2021]}),
        r"annotation 103: run length covers None pixels",
    ),
    "no mask": (
        set_annotation(segmentation=[]),
        r"annotation 103: no segmentation \(1 of 10 objects .*; set MODEL\.MASK_ON False .* add the masks",
    ),
}


# other entries point to what is wrong here, and are told too
LEAVES_OTHERS_DANGLING = {
    "duplicate category id",
    "duplicate image id",
    "vast image id",
}


@pytest.mark.parametrize("name", WRONG_CONTENT)
@pytest.mark.parametrize("is_train", [True, False])
def test_wrong_content_is_one_line(write_coco, content, name: str, is_train: bool) -> None:
    change, message = WRONG_CONTENT[name]
    files = write_coco(content)
    change(files.content)
    files.write()
    with pytest.raises(DatasetError, match=message) as raised:
        load(files.entry, is_train=is_train)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(str(files.annotation_file)) for line in lines)
    if name not in LEAVES_OTHERS_DANGLING:
        assert len(lines) == 1


def test_every_problem_is_told_up_to_a_limit(write_coco, many_images) -> None:
    for annotation in many_images["annotations"]:
        annotation["category_id"] = 5
    files = write_coco(many_images)
    with pytest.raises(DatasetError) as raised:
        load(files.entry)
    lines = str(raised.value).splitlines()
    assert len(lines) == 21
    assert "annotation 100:" in lines[0] and "annotation 119:" in lines[19]
    assert lines[20].endswith("and 26 more problems")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid json"),
        ('{"images": [', "not valid json"),
        ("[1, 2]", "not a COCO instance file"),
        ('{"images": [], "annotations": {}, "categories": []}', "no list of records 'annotations'; it must"),
        ('{"images": [], "categories": []}', "no list of records 'annotations'"),
        ('{"images": [3], "annotations": [], "categories": []}', "no list of records 'images'"),
        ('{"shapes": [], "version": "5.0"}', "'images', 'annotations', 'categories'"),
    ],
)
def test_a_file_that_is_not_coco(write_coco, content, text: str, message: str) -> None:
    files = write_coco(content)
    files.annotation_file.write_text(text)
    with pytest.raises(DatasetError, match=message) as raised:
        load(files.entry)
    assert str(files.annotation_file) in str(raised.value)


def test_missing_files_say_what_to_do(write_coco, content, monkeypatch, tmp_path) -> None:
    files = write_coco(content)
    with pytest.raises(DatasetError, match=r"gone: the image folder of .* does not exist; correct the entry"):
        load(f"{files.annotation_file}@{tmp_path}/gone")
    with pytest.raises(DatasetError, match=r"gone\.json: the annotation file of .* does not exist"):
        load(f"{tmp_path}/gone.json@{files.image_folder}")
    monkeypatch.setenv("MASKRCNN_BENCHMARK_DATASETS", str(tmp_path / "root"))
    with pytest.raises(DatasetError, match=r"root/coco/annotations.*MASKRCNN_BENCHMARK_DATASETS"):
        load("coco_2017_val")
    with pytest.raises(
        DatasetError, match=r"python -m maskrcnn_benchmark\.data\.datasets\.shapes --root .*root/shapes"
    ):
        load("shapes_train")


def test_unknown_datasets_name_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'coco_2017_trian'.*did you mean 'coco_2017_train'.*shapes_val"):
        load("coco_2017_trian")
    with pytest.raises(ValueError, match=r"annotations\.json@image_folder"):
        load("instances.json@")


def test_no_dataset_named() -> None:
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN is empty"):
        make_data_loader(load_config(None, []))


@pytest.mark.parametrize("is_train", [True, False])
def test_class_count_names_both(write_coco, content, is_train: bool) -> None:
    files = write_coco(content)
    message = r"make 3 classes, but MODEL\.ROI_BOX_HEAD\.NUM_CLASSES is 81; set .*NUM_CLASSES 3"
    with pytest.raises(DatasetError, match=message):
        load(files.entry, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", "81", is_train=is_train)


def test_boxes_without_masks_are_fine_without_the_mask_head(write_coco, content) -> None:
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    loader = load(write_coco(content).entry, "MODEL.MASK_ON", "False", "SOLVER.IMS_PER_BATCH", "2")
    assert next(iter(loader))[1][0].fields() == ["labels"]


def test_nothing_left_to_train_on(write_coco, content) -> None:
    content["annotations"].clear()
    files = write_coco(content)
    with pytest.raises(DatasetError, match=r"no image is left to train on; .*DATALOADER\.FILTER_EMPTY False"):
        load(files.entry)
    kept = load(files.entry, "DATALOADER.FILTER_EMPTY", "False", "SOLVER.IMS_PER_BATCH", "2")
    assert len(next(iter(kept))[1][0]) == 0


def test_only_crowds_left_is_said(write_coco, content, caplog) -> None:
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    files = write_coco(content)
    words = (
        r"no image is left to train on; all objects are left out: 10 crowds .*100, 101.*iscrowd 0 for sing"
    )
    with pytest.raises(DatasetError, match=words):
        load(files.entry)
    load(files.entry, is_train=False)
    assert "all objects are left out: 10 crowds" in caplog.text


def test_boxes_as_fractions_are_called_that(write_coco, content) -> None:
    for annotation in content["annotations"]:
        annotation["bbox"] = [value / 50 for value in annotation["bbox"]]
    words = r"10 boxes of at most one pixel .*fractions of the image: multiply x and width"
    with pytest.raises(DatasetError, match=words):
        load(write_coco(content).entry, "MODEL.MASK_ON", "False")


def test_boxes_of_no_size_have_their_own_mend(write_coco, content) -> None:
    for annotation in content["annotations"]:
        annotation["bbox"][2:] = [0, -3]
    words = r"10 boxes of zero or negative size dropped .*correct these annotations"
    with pytest.raises(DatasetError, match=words):
        load(write_coco(content).entry)


def test_whole_numbers_may_be_written_as_floats(write_coco, content) -> None:
    """Training and evaluation read them as the file without the fractions."""
    plain = load(write_coco(content, "plain").entry, is_train=False)[0].dataset
    for name, keys in (("images", ("id", "width", "height")), ("categories", ("id",))):
        for record in content[name]:
            record |= {key: float(record[key]) for key in keys}
    for record in content["annotations"]:
        record |= {key: float(record[key]) for key in ("id", "image_id", "category_id", "iscrowd")}
    files = write_coco(small_content(), "floats")
    files.content = content
    files.write()
    dataset = load(files.entry, is_train=False)[0].dataset
    assert dataset.categories == plain.categories and dataset.ids == plain.ids
    assert dataset.get_img_info(1) == plain.get_img_info(1)
    target = plain.get_ground_truth(0)
    target.add_field("scores", torch.ones(len(target)))
    target.add_field("mask", torch.ones(len(target), 1, 28, 28))
    scores = []
    for each in (plain, dataset):
        evaluator = each.make_evaluator(("bbox",))
        encoded = predictions_of_index(each, 0, target, with_masks=False)
        scores.append(evaluator.score([encoded], None).results["bbox"]["AP"])
    assert scores[0] == scores[1] == pytest.approx(1)


@pytest.mark.parametrize("size", [96.5, "96", None])
def test_a_refused_image_says_it_once(write_coco, content, size: object) -> None:
    files = write_coco(content)
    files.content["images"][0]["width"] = size
    files.write()
    with pytest.raises(DatasetError, match=rf"image 4: no usable size \(width {size}") as raised:
        load(files.entry)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"file_name": "0.png", "segments_info": []}, r"a panoptic file.*'segments_info' and no 'bbox'"),
        ({"id": 1, "caption": "a cat"}, "a file of captions"),
        ({"id": 1, "category_id": 3, "keypoints": [1, 2, 2]}, "a file of key points without boxes"),
    ],
)
def test_other_files_are_called_what_they_are(write_coco, content, record: dict, words: str) -> None:
    content["annotations"] = [{"image_id": 4, **record}]
    with pytest.raises(DatasetError, match=words) as raised:
        load(write_coco(content).entry)
    assert len(str(raised.value).splitlines()) == 1


def test_results_and_lvis_files_are_called_that(write_coco, content) -> None:
    files = write_coco(content)
    for image in files.content["images"]:
        image["coco_url"] = f"http://somewhere/train2017/{image.pop('file_name')}"
    files.write()
    with pytest.raises(DatasetError, match="an LVIS file"):
        load(files.entry)
    files.annotation_file.write_text(
        '[{"image_id": 4, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]'
    )
    with pytest.raises(DatasetError, match="a results file"):
        load(files.entry)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_truncated_picture_names_itself_in_training(write_coco, content, workers: str) -> None:
    files = write_coco(content)
    for picture in files.image_folder.iterdir():
        picture.write_bytes(picture.read_bytes()[:300])
    loader = load(files.entry, "DATALOADER.NUM_WORKERS", workers, "SOLVER.IMS_PER_BATCH", "1")
    with pytest.raises(DatasetError, match=r"images/\d\.png: not an image, or truncated \(300 bytes\)"):
        next(iter(loader))


def test_a_list_that_stands_twice_is_refused(write_coco, content) -> None:
    files = write_coco(content)
    text = files.annotation_file.read_text()
    files.annotation_file.write_text(text[:-1] + ',\n"annotations": []}')
    with pytest.raises(DatasetError, match=r"instances\.json: the key 'annotations' stands twice .*1 and 2"):
        load(files.entry)

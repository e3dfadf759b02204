"""Sets of boxes: what each layout says, what is wrong with it, and what is done about that."""

import json

import numpy as np
import pytest
import torch
from box_sets import (
    BOX,
    CLASSES,
    MAKERS,
    annotation,
    label_of,
    make_box_table,
    make_coco,
    make_voc,
    make_yolo,
    picture,
    xml,
    yolo_line,
)
from conftest import real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from moganet import open_data
from moganet.data import UnusableDataError
from moganet.data.outlines import compressed, drawn, read_outline, runs_of_mask
from moganet.engine.annotations import annotations
from moganet.engine.doctor import doctor
from moganet.errors import DataError, OutputError


def boxes(dataset, split="train", index=0):
    return dataset.split(split).targets[index]["boxes"].tolist()


def facts(dataset):
    """Give what is marked in each image by its name."""
    found = {}
    for name, split in dataset.splits.items():
        for i, file in enumerate(split.files):
            target = split.targets[i]
            rows = zip(target["labels"].tolist(), target["boxes"].tolist(), target["crowd"].tolist(), strict=True)
            found[name, file.stem] = sorted((dataset.class_names[a], np.round(b, 3).tolist(), c) for a, b, c in rows)
    return found


# Layouts


@pytest.mark.parametrize("name", [*MAKERS, "table"])
def test_every_layout_says_the_same_of_an_image(name, tmp_path):
    made = make_box_table(tmp_path) if name == "table" else MAKERS[name](tmp_path)
    dataset = open_data(f"{name}:{made}")
    assert dataset.class_names == CLASSES and {split: len(dataset.split(split)) for split in dataset.splits} == {
        "train": 6,
        "val": 6,
    }
    for split in dataset.splits.values():
        for index, file in enumerate(split.files):
            target = split.targets[index]
            number = int(file.stem[-1])
            assert target["boxes"].tolist() == [pytest.approx(BOX, abs=1e-4)] and target["boxes"].canvas_size == (
                40,
                60,
            )
            assert target["labels"].tolist() == [label_of(number)] and target["size"].tolist() == [40, 60]
            image = split[index].image  # the box holds the rectangle's colour, and nothing around it does
            assert (image[0 if label_of(number) else 2, 8:24, 10:30] > 200).all()
    assert dataset.split("train").targets.has_masks == (name == "coco")


def test_masks_ids_and_crowds_of_coco_are_kept(tmp_path):
    crowd = {"counts": [40 * 59, 40], "size": [40, 60]}
    text = {"counts": compressed([40 * 59, 40]), "size": [40, 60]}

    def change(lists):
        lists["annotations"] += [annotation(50, 7, 3, bbox=[59, 0, 1, 40], segmentation=crowd, iscrowd=1, area=40)]
        lists["annotations"] += [annotation(51, 7, 3, bbox=[59, 0, 1, 40], segmentation=text, iscrowd=1, area=40)]
        lists["images"].append({"id": 900, "file_name": "empty.png", "width": 60, "height": 40})

    for split in ("train", "val"):
        picture(tmp_path / f"{split}2017" / "empty.png")
    dataset = open_data(f"coco:{make_coco(tmp_path, change=change)}")
    targets = dataset.split("train").targets
    first = targets[0]
    assert targets.category_ids == (3, 90) and first["image_id"] == 7 and first["numbers"].tolist() == [1, 50, 51]
    assert first["crowd"].tolist() == [False, True, True] and first["area"].tolist() == [320, 40, 40]
    assert first["masks"].shape == (3, 40, 60) and first["masks"][1, :, 59].all() and first["masks"][1].sum() == 40
    assert torch.equal(first["masks"][1], first["masks"][2]) and first["masks"][0].sum() == 320
    assert targets[6]["image_id"] == 900 and len(targets[6]["boxes"]) == 0 == len(targets[6]["masks"])
    marked = targets.marked()
    assert (marked.classes.tolist(), marked.small, marked.crowds, marked.empty) == ([3, 3], 6, 2, 1)


@pytest.mark.parametrize("layout", ["roboflow", "flat", "file", "images", "nested"])
def test_coco_files_are_found_where_tools_put_them(layout, tmp_path):
    make_coco(tmp_path / "made", splits=("train",))
    file = tmp_path / "made" / "annotations" / "instances_train2017.json"
    images, spec = tmp_path / "made" / "train2017", f"coco:{tmp_path}/set"
    if layout == "roboflow":
        images.rename(tmp_path / "made" / "train")
        file.rename(tmp_path / "made" / "train" / "_annotations.coco.json")
        (tmp_path / "made").rename(tmp_path / "set")
    elif layout == "flat":
        images.rename(tmp_path / "set")
        file.rename(tmp_path / "set" / "labels.json")
    elif layout == "file":
        spec = f"coco:{file}"
    elif layout == "images":
        images.rename(tmp_path / "elsewhere")
        spec = f"coco:{file}?images={tmp_path}/elsewhere"
    else:
        (tmp_path / "set" / "images").mkdir(parents=True)
        images.rename(tmp_path / "set" / "images" / "train2017")
        file.parent.rename(tmp_path / "set" / "annotations")
    dataset = open_data(spec)
    assert len(dataset.split("train")) == 6 and boxes(dataset) == [list(BOX)]


YAMLS = {
    "folders": "path: .\ntrain: images/train\nval: images/val\n",
    "lists": "train: [images/train]\nval: [images/val]\n",
    "texts": "train: train.txt\nval: val.txt\n",
    "roboflow": "train: ../images/train\nval: ../images/val\nnc: 2\n",
    "a lost path": "path: /datasets/lost\ntrain: images/train\nval: images/val\n",
}


@pytest.mark.parametrize("told", YAMLS)
def test_a_yaml_file_says_where_the_images_are(told, tmp_path):
    root = make_yolo(tmp_path / "set", told=YAMLS[told])
    for split in ("train", "val"):
        (root / f"{split}.txt").write_text("".join(f"./images/{split}/{i}.png\n" for i in range(6)))
    dataset = open_data(f"yolo:{root / 'data.yaml'}")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 6, "val": 6}


def test_a_missing_or_empty_label_file_is_an_image_without_objects(tmp_path, caplog):
    root = make_yolo(tmp_path)
    (root / "labels" / "train" / "0.txt").unlink()
    (root / "labels" / "train" / "1.txt").write_text("\n")
    dataset = open_data(f"yolo:{root}")
    assert [len(boxes(dataset, index=i)) for i in range(3)] == [0, 0, 1]
    assert any("1 of 12 images" in note for note in dataset.notes)
    for file in root.glob("labels/*/*.txt"):
        file.unlink()
    with pytest.raises(DataError, match="none of the 12 images"):
        open_data(f"yolo:{root}")


def test_polygons_of_yolo_are_outlines(tmp_path):
    root = make_yolo(tmp_path)
    for file in root.glob("labels/*/*.txt"):
        file.write_text("1 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75\n")
    target = open_data(f"yolo:{root}").split("train").targets[0]
    assert target["boxes"].tolist() == [[15, 10, 30, 30]] and target["masks"].sum() == 300 == target["area"][0]


def test_without_a_yaml_file_the_names_are_asked_for(tmp_path):
    root = make_yolo(tmp_path)
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"classes\.txt"):
        open_data(f"yolo:{root}")
    (root / "classes.txt").write_text("blue\nred\n")
    assert open_data(f"yolo:{root}").class_names == CLASSES


def test_difficult_objects_are_crowds_unless_asked_otherwise(tmp_path):
    root = make_voc(tmp_path)
    (root / "Annotations" / "train0.xml").write_text(xml("train0.png", [("red", BOX, 0), ("blue", BOX, 1)]))
    crowds = {
        query: open_data(f"voc:{root}{query}").split("train").targets[0]["crowd"].tolist()
        for query in ("", "?difficult=keep", "?difficult=drop")
    }
    assert crowds == {"": [False, True], "?difficult=keep": [False, False], "?difficult=drop": [False]}
    assert boxes(open_data(f"voc:{root}?base=0"), index=1) == [[11, 9, 30, 24]]


HEADERS = {
    "file,x1,y1,x2,y2,label,split": (BOX, ""),
    "filename,xmin,ymin,xmax,ymax,class,split": (BOX, ""),
    "image,x,y,w,h,label,split": ((10, 8, 20, 16), ""),
    "image,x_center,y_center,width,height,label,split": ((20, 16, 20, 16), ""),
    "path,a,b,c,d,label,split": ((10, 8, 20, 16), "?boxes=a,b,c,d&form=xywh"),
    "path,left,top,right,bottom,label,split": ((10 / 60, 8 / 40, 0.5, 0.6), ""),
}


@pytest.mark.parametrize("header", HEADERS)
def test_columns_of_boxes_are_known_by_their_names(header, tmp_path):
    box, query = HEADERS[header]
    dataset = open_data(f"table:{make_box_table(tmp_path, header=header, box=box)}{query}")
    assert boxes(dataset) == [pytest.approx(BOX, abs=1e-4)]


@pytest.mark.parametrize(
    ("header", "query", "said"),
    [
        ("path,a,b,c,d,label,split", "?boxes=a,b,c,d", "form=xywh"),
        ("path,a,b,c,d,label,split", "?boxes=a,b,c", "four columns"),
        ("path,a,b,c,d,label,split", "?boxes=a,b,c,e&form=xyxy", "no column 'e'"),
    ],
)
def test_columns_that_can_not_be_told_are_asked_for(header, query, said, tmp_path):
    with pytest.raises(DataError, match=said):
        open_data(f"table:{make_box_table(tmp_path, header=header)}{query}")


def test_two_kinds_of_columns_are_refused_and_rows_without_a_box_are_images(tmp_path):
    table = make_box_table(tmp_path, number=2)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, "val/0.png,,,,,,val"]).replace("val/1.png,10,8,30,24,blue", "val/1.png,,,,,"))
    dataset = open_data(f"table:{table}")
    assert [len(boxes(dataset, "val", i)) for i in range(2)] == [1, 0]
    picture(tmp_path / "train" / "unnamed.png")
    assert any("1 image " in note and "no annotation names" in note for note in open_data(f"table:{table}").notes)
    both = ["x,y,w,h," + lines[0], *(f"1,1,5,5,{line}" for line in lines[1:])]
    table.write_text("\n".join(both))
    with pytest.raises(DataError, match="two kinds of boxes"):
        open_data(f"table:{table}")
    assert boxes(open_data(f"table:{table}?boxes=x,y,w,h&form=xywh")) == [[1, 1, 6, 6]]


# What is wrong


def first(**change):
    return lambda lists: lists["annotations"][0].update(change)


def image(**change):
    return lambda lists: lists["images"][0].update(change)


def again(kind, **change):
    return lambda lists: lists[kind].append({**lists[kind][0], **change})


BROKEN = {  # what was done, the word that answers it, what is said, how many objects of the first image are left
    "beyond": (first(bbox=[50, 10, 20, 10]), "outside=drop", "annotation 1 .*reaches 10 pixels beyond 60x40", 0),
    "cut": (first(bbox=[50, 10, 20, 10]), "outside=clip", "annotation 1 ", 1),
    "outside": (first(bbox=[70, 10, 20, 10]), "outside=drop", "lies outside the image", 0),
    "no width": (first(bbox=[10, 10, 0, 10]), "area=drop", "0 wide and 10 high", 0),
    "negative": (first(bbox=[10, 10, -5, 10]), "area=drop", "-5 wide", 0),
    "text": (first(bbox=["10", 8, 20, 16]), "numbers=drop", "holds '10', which is no number", 0),
    "NaN": (first(bbox=[float("nan"), 8, 20, 16]), "numbers=drop", "holds nan", 0),
    "infinite": (first(bbox=[10, 8, float("inf"), 16]), "numbers=drop", "holds inf", 0),
    "huge": (first(bbox=[10, 8, 10**400, 16]), "numbers=drop", "no place in an image", 0),
    "three numbers": (first(bbox=[10, 8, 20]), "numbers=drop", "not four numbers", 0),
    "no box": (first(bbox=None), "numbers=drop", "has no box", 0),
    "unknown": (first(category_id=4), "class=drop", "category 4 is no class", 0),
    "class as text": (first(category_id="3"), "class=drop", "category '3' is no class", 0),
    "two points": (first(segmentation=[[1, 2, 3, 4]]), "outline=drop", "polygon of 2 points", 0),
    "by its box": (first(segmentation=[[1, 2, 3, 4]]), "outline=box", "polygon of 2 points", 1),
    "odd": (first(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "outline=drop", "no pairs", 0),
    "NaN in it": (first(segmentation=[[1, 2, 3, 4, 5, float("nan")]]), "outline=drop", "not finite", 0),
    "text in it": (first(segmentation=[[1, 2, 3, "4", 5, 6]]), "outline=drop", "no number", 0),
    "runs of another size": (
        first(segmentation={"counts": [100], "size": [10, 10]}),
        "outline=drop",
        "for 10x10 pixels, but the image has 60x40",
        0,
    ),
    "runs too long": (first(segmentation={"counts": [2401], "size": [40, 60]}), "outline=drop", "2,401 pixels", 0),
    "runs cut off": (first(segmentation={"counts": "o", "size": [40, 60]}), "outline=drop", "cut off", 0),
    "without": (first(segmentation=None), "without=box", "no outline, where others have", 1),
    "orphan": (first(image_id=1234), "orphan=drop", "annotation 1 is of image 1234", 0),
    "id twice": (again("annotations"), "ids=drop", "annotation 1 stands there twice", 1),
    "image twice": (again("images"), "ids=drop", "image 7 .*stands there twice", 1),
    "name twice": (again("images", id=99), "names=drop", "0.png is image 7 and image 99", 1),
    "category twice": (again("categories"), "ids=drop", "category 90 stands there twice", 1),
    "size": (image(width=120, height=80), "size=keep", "0.png has 60x40 pixels, where 120x80 stands", 1),
    "turned": (image(width=40, height=60), "turned=keep", "as it is shown, where 40x60 stands", 1),
    "size as text": (image(width="60"), "size=keep", "said to have 60 x 40", 1),
    "no record": (lambda lists: lists["annotations"].append(7), "ids=drop", "no record", 1),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_refused_by_name_and_left_out_where_that_is_asked(kind, tmp_path):
    change, answer, said, left = BROKEN[kind]
    make_coco(tmp_path, splits=("train",), change=change)
    with pytest.raises(UnusableDataError, match=said) as caught:
        open_data(f"coco:{tmp_path}")
    text = str(caught.value)
    assert "instances_train2017.json" in text and answer.split("=")[0] in text and "\n" not in text
    for query in (answer, "broken=drop"):
        dataset = open_data(f"coco:{tmp_path}?{query}")
        assert dataset.notes and answer.split("=")[0] in dataset.notes[0]
    if answer.endswith(("drop", "clip", "box", "keep")):
        assert len(boxes(open_data(f"coco:{tmp_path}?{answer}"))) == left


def test_a_cut_box_ends_at_the_edge_and_a_pixel_beyond_is_nothing(tmp_path):
    make_coco(tmp_path, splits=("train",), change=first(bbox=[50, -5, 20, 10]))
    assert boxes(open_data(f"coco:{tmp_path}?outside=clip")) == [[50, 0, 60, 5]]
    make_coco(tmp_path, splits=("train",), change=first(bbox=[49.5, 30, 11, 10.2]))
    assert boxes(open_data(f"coco:{tmp_path}")) == [pytest.approx([49.5, 30, 60.5, 40.2])]


def test_a_stretched_set_is_brought_to_its_images_size(tmp_path):
    def change(lists):
        lists["images"][0].update(width=120, height=80)
        lists["annotations"][0].update(
            bbox=[20, 16, 40, 32], segmentation=[[20, 16, 60, 16, 60, 48, 20, 48]], area=1280
        )

    make_coco(tmp_path, splits=("train",), change=change)
    target = open_data(f"coco:{tmp_path}?size=scale").split("train").targets[0]
    assert target["boxes"].tolist() == [list(BOX)] and target["masks"].sum() == 320 == target["area"][0]


def test_missing_images_are_counted_and_skipped(tmp_path):
    make_coco(tmp_path, splits=("train",))
    for name in ("1.png", "2.png"):
        (tmp_path / "train2017" / name).unlink()
    with pytest.raises(UnusableDataError, match=r"no image 1\.png \(1 object\).*first of 2 faults"):
        open_data(f"coco:{tmp_path}")
    dataset = open_data(f"coco:{tmp_path}?missing=skip")
    assert len(dataset.split("train")) == 4 and "2 images (missing)" in dataset.notes[0]


def test_an_image_that_is_shown_turned_is_told_from_its_pixels(tmp_path):
    make_coco(tmp_path, splits=("train",))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    with Image.open(tmp_path / "train2017" / "0.png") as opened:
        opened.save(tmp_path / "train2017" / "0.png", exif=exif)
    with pytest.raises(UnusableDataError, match="turn the image's pixels"):
        open_data(f"coco:{tmp_path}")
    assert len(open_data(f"coco:{tmp_path}?turned=skip").split("train")) == 5


LINES = {
    "5 0.5 0.5 0.2 0.2": "class '5' is no class",
    "x 0.5 0.5 0.2 0.2": "class 'x' is no class",
    "0.5 0.5 0.5 0.2 0.2": "class '0.5' is no class",
    "-1 0.5 0.5 0.2 0.2": "is no class",
    "0 0.5 0.5 0.2": "4 words",
    "0 0.1 0.1": "3 words",
    "0 0.1 0.1 0.2 0.2 0.9": "a score after the box",
    "0 0.5 0.5 nan 0.2": "holds nan",
    "0 0.5 0.5 abc 0.2": "holds 'abc'",
    "0 0.5 0.5 0 0.2": "0 wide",
    "0 20 16 20 16": "outside",
}


@pytest.mark.parametrize("line", LINES)
def test_a_broken_line_is_named(line, tmp_path):
    root = make_yolo(tmp_path)
    (root / "labels" / "train" / "3.txt").write_text(f"{yolo_line(3)}{line}\n")
    with pytest.raises(UnusableDataError, match=LINES[line]) as caught:
        open_data(f"yolo:{root}")
    assert "3.txt: line 2 (3.png)" in str(caught.value)
    assert len(boxes(open_data(f"yolo:{root}?broken=drop"), index=3)) == 1


YAML_FAULTS = {
    "names: [a, b]\n": "names no images",
    "train: images/train\n": "names no classes",
    "train: images/train\nnames: [a, a]\n": "two classes 'a'",
    "train: images/train\nnames: {1: a, 2: b}\n": "not 0 to 1",
    "train: images/train\nnames: [a, b]\nnc: 3\n": "nc: 3, but names 2",
    "train: 7\nnames: [a, b]\n": "no folder or list",
    "train: images/lost\nnames: [a, b]\n": "images/lost is not there",
    "- a\n": "no YAML file of a set",
    "a: [\n": "is no YAML",
}


@pytest.mark.parametrize("text", YAML_FAULTS)
def test_a_wrong_yaml_file_says_what_is_right(text, tmp_path):
    root = make_yolo(tmp_path)
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=YAML_FAULTS[text]) as caught:
        open_data(f"yolo:{root}")
    assert "\n" not in str(caught.value)


XMLS = {
    "<annotation><object></annotation>": "no XML",
    "<html></html>": "of another kind",
    '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>': "entities",
    xml("train0.png", [("red", (10, 8, 10, 24), 0)]): "0 wide",
    xml("train0.png", [("red", BOX, 0)]).replace("<ymax>24", "<ymax>ten"): "holds 'ten'",
    "": "no XML",
    xml("train0.png", [("", BOX, 0)]): "a name that is empty is no class",
    xml("train0.png", [("red", BOX, 0)], (90, 40)): "where 90x40 stands",
    "<annotation><object><name>red</name></object></annotation>": "no bndbox",
}


@pytest.mark.parametrize("text", XMLS)
def test_a_broken_xml_file_is_named(text, tmp_path):
    root = make_voc(tmp_path)
    (root / "Annotations" / "train0.xml").write_text(text)
    with pytest.raises(UnusableDataError, match=XMLS[text]) as caught:
        open_data(f"voc:{root}")
    assert "train0.xml" in str(caught.value) and "\n" not in str(caught.value)
    assert len(open_data(f"voc:{root}?broken=drop").split("train")) in (5, 6)


def test_the_doctor_lists_faults_boxes_sizes_and_leaks_and_draws(tmp_path):
    make_coco(tmp_path, change=first(bbox=[70, 10, 20, 10]))
    picture(tmp_path / "val2017" / "5.png", 5)  # as in train
    result = doctor(f"coco:{tmp_path}", picture=tmp_path / "look.png")
    assert not result.ok and result.counts["structure"] == 2 and result.counts["duplicate"] == 1
    assert "annotation 1 (0.png)" in result.findings[0].detail
    train = result.data.objects["train"]
    assert (train.classes, train.small, train.images_without) == ({"blue": 3, "red": 2}, 5, 1)
    assert (tmp_path / "look.png").stat().st_size > 5000


# Recognition


@pytest.mark.parametrize("name", ["yolo", "voc", "roboflow", "yaml", "json"])
def test_a_path_alone_is_recognised(name, tmp_path):
    root = (make_coco if name in ("roboflow", "json") else make_voc if name == "voc" else make_yolo)(tmp_path / "set")
    path = root
    if name == "roboflow":
        for split in ("train", "val"):
            (root / f"{split}2017").rename(root / split)
            (root / "annotations" / f"instances_{split}2017.json").rename(root / split / "_annotations.coco.json")
        (root / "annotations").rmdir()
    elif name in ("yaml", "json"):
        path = root / "data.yaml" if name == "yaml" else root / "annotations" / "instances_train2017.json"
    dataset = open_data(path)
    assert dataset.spec.startswith(("yolo:", "voc:", "coco:")) and dataset.split("train").targets.marked() is not None


def test_a_folder_of_two_readings_is_refused(tmp_path):
    make_coco(tmp_path)
    with pytest.raises(DataError, match=r"--data coco:.* or .*--data masks:"):
        open_data(tmp_path)


@pytest.mark.parametrize("query", ["mising=skip", "missing=drop", "missing=skip&missing=skip"])
def test_a_wrong_query_says_what_is_right(query, tmp_path):
    make_coco(tmp_path)
    with pytest.raises(DataError):
        open_data(f"coco:{tmp_path}?{query}")


# Masks


@pytest.mark.filterwarnings("ignore:__array__")  # of pycocotools
@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.floats(-5, 30).map(lambda x: round(x, 1))] * 2), min_size=3, max_size=9), st.randoms())
def test_polygons_are_drawn_to_the_pixel_as_coco_does(points, random):
    coco = pytest.importorskip("pycocotools.mask")
    size = random.randint(1, 25), random.randint(1, 25)
    flat = [side for point in points for side in point]
    expected = coco.decode(coco.merge(coco.frPyObjects([flat], size[1], size[0])))
    found = drawn(np.array(points, float), size)
    assert np.array_equal(found, expected)
    runs = runs_of_mask(found)
    plain = {"counts": compressed(runs), "size": [size[1], size[0]]}
    assert plain["counts"].encode() == coco.encode(np.asfortranarray(expected))["counts"]
    assert np.array_equal(read_outline(plain, size).mask(size), expected)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["counts", "size", "id"]), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.sampled_from(["bbox", "segmentation", "category_id", "image_id", "id", "area", "iscrowd"]), plain_values)
def test_whatever_stands_in_an_annotation_is_a_fault_or_nothing(tmp_path_factory, key, value):
    root = tmp_path_factory.getbasetemp() / "whatever"
    make_coco(root, number=2, splits=("train",), change=first(**{key: value}))
    try:
        open_data(f"coco:{root}")
    except DataError as error:
        assert "\n" not in str(error)
    split = open_data(f"coco:{root}?broken=drop").split("train")
    assert len(split) == 2
    for i in range(2):
        split.targets[i]


@settings(max_examples=50)
@given(st.binary(max_size=60) | st.text("0123456789. -ne\n", max_size=40).map(str.encode))
def test_any_bytes_in_a_label_file_are_objects_or_a_fault(tmp_path_factory, content):
    root = tmp_path_factory.getbasetemp() / "any"
    if not (root / "data.yaml").exists():
        make_yolo(root, number=1)
    (root / "labels" / "train" / "0.txt").write_bytes(content)
    try:
        open_data(f"yolo:{root}").split("train").targets[0]
    except DataError as error:
        assert "\n" not in str(error)


# Targets


def test_parts_joined_and_mapped_targets_keep_their_things(tmp_path):
    dataset = open_data(f"coco:{make_coco(tmp_path)}")
    train, val = (dataset.split(name).targets for name in ("train", "val"))
    whole = train.joined([val])
    assert len(whole) == 12 and whole[7]["labels"].tolist() == val[1]["labels"].tolist() and whole.has_masks
    part = whole.subset([8, 1])
    assert part.objects().tolist() == [[0, 1], [1, 0]] and part.strata().tolist() == [[0, 1], [1, 0]]
    mapped = part.mapped([2, -1], 3)  # red is unknown to a model
    assert [target["labels"].tolist() for target in (mapped[0], mapped[1])] == [[], [2]]
    assert len(mapped[0]["masks"]) == 0 and mapped.marked().classes.tolist() == [0, 0, 1]
    assert train.identity() != val.subset(range(5)).identity() and len(set(whole.identity())) > 2
    assert dataset.fingerprint() == open_data(f"coco:{tmp_path}").fingerprint()
    make_coco(tmp_path, change=first(bbox=[10, 8, 20, 15]))
    assert dataset.fingerprint() != open_data(f"coco:{tmp_path}").fingerprint()


# Other layouts


@pytest.mark.parametrize("layout", ["coco", "yolo", "voc"])
@pytest.mark.parametrize("source", ["coco", "yolo", "voc"])
def test_a_set_in_another_layout_says_the_same(source, layout, tmp_path):
    made = MAKERS[source](tmp_path / "made")
    before = open_data(f"{source}:{made}")
    result = annotations(f"{source}:{made}", tmp_path / "out", layout)
    after = open_data(f"{layout}:{tmp_path}/out")
    assert result.images == {"train": 6, "val": 6} and result.objects == 12
    assert after.class_names == before.class_names

    def rows(dataset):
        return {
            name: sorted(map(str, (v for k, v in facts(dataset).items() if k[0] == name))) for name in dataset.splits
        }

    assert rows(after) == rows(before)
    pixels = [before.split("val")[2].image, after.split("val")[2].image]
    assert torch.equal(*pixels)
    with pytest.raises(OutputError, match="already"):
        annotations(f"{source}:{made}", tmp_path / "out", layout)


def test_real_annotations_keep_ids_runs_and_crowds_there_and_back(tmp_path):
    source = real_data("coco-mini")
    annotations(f"coco:{source}", tmp_path / "coco", "coco", link=True)
    for split in ("train", "val"):
        old, new = (
            json.loads((root / "annotations" / name).read_text())
            for root, name in ((source, f"instances_{split}2017.json"), (tmp_path / "coco", f"instances_{split}.json"))
        )
        keys = ("id", "image_id", "category_id", "iscrowd", "bbox")
        assert {c["id"]: c["name"] for c in new["categories"]} == {c["id"]: c["name"] for c in old["categories"]}
        rows = [sorted(json.dumps([one[key] for key in keys]) for one in lists["annotations"]) for lists in (old, new)]
        assert [json.loads(a) for a in rows[1]] == [json.loads(a) for a in rows[0]]
        by_id = {one["id"]: one["segmentation"] for one in old["annotations"]}
        assert all(one["segmentation"] == by_id[one["id"]] for one in new["annotations"])


@pytest.mark.parametrize("layout", ["coco", "yolo", "voc"])
def test_supervision_reads_what_is_written(layout, tmp_path):
    supervision = pytest.importorskip("supervision")
    annotations(f"yolo:{make_yolo(tmp_path / 'made', number=2)}", tmp_path / "out", layout)
    out = tmp_path / "out"
    read = {
        "coco": lambda: supervision.DetectionDataset.from_coco(
            str(out / "train"), str(out / "annotations" / "instances_train.json")
        ),
        "yolo": lambda: supervision.DetectionDataset.from_yolo(
            str(out / "images/train"), str(out / "labels/train"), str(out / "data.yaml")
        ),
        "voc": lambda: supervision.DetectionDataset.from_pascal_voc(str(out / "JPEGImages"), str(out / "Annotations")),
    }[layout]()
    found = [detections.xyxy for _, _, detections in read]
    assert sorted(read.classes) == list(CLASSES) and len(found) == (4 if layout == "voc" else 2)
    assert all(np.allclose(one, BOX, atol=1.01) for one in found)

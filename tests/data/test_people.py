"""Sources of key points: COCO's layout and others, what is wrong with them, and boxes that a person gives."""

import json

import pytest
import torch
from PIL import Image
from stick_figures import category, make_people

import moganet
from moganet.config import AugmentConfig, Preprocessing
from moganet.data.augment_people import BoxCrop, crop_of_box
from moganet.data.findings import UnusableDataError
from moganet.data.given_boxes import read_boxes
from moganet.data.people_targets import apart
from moganet.data.skeletons import COCO
from moganet.errors import DataError

OWN = Preprocessing(size=(64, 48), crop_mode="box", crop_fraction=0.8, interpolation="bilinear", antialias=False)


@pytest.fixture
def people(tmp_path):
    return make_people(tmp_path / "set", images=3, same=False)


def change(root, make, split="train"):
    path = root / "annotations" / f"person_keypoints_{split}2017.json"
    plain = json.loads(path.read_text())
    make(plain)
    path.write_text(json.dumps(plain))
    return f"keypoints:{root}"


def test_cocos_layout_is_read_by_its_name_and_by_a_path(people, caplog):
    caplog.set_level("INFO", "moganet")
    for spec in (f"keypoints:{people}", str(people)):
        dataset = moganet.open_data(spec)
        assert dataset.class_names == COCO.names and {name: len(s) for name, s in dataset.splits.items()} == {
            "train": 3,
            "val": 3,
        }
    assert "took" in caplog.text
    split = dataset.split("val")
    sample, target = split[1], split.targets[1]
    assert (
        sample.image.shape == (3, 160, 200) and target["points"].shape == (2, 17, 3) and target["boxes"].shape == (2, 4)
    )
    assert split.targets.image_ids == [1, 2, 3] and split.targets.boxes(0).shape == (2, 5)
    assert split.targets.text(0, ()).startswith("2 poses, 34 key points")
    one = f"keypoints:{people}/annotations/person_keypoints_val2017.json"
    assert len(moganet.open_data(one).split("val")) == 3
    whole = split.targets.joined([dataset.split("train").targets])
    assert len(whole) == 6 and len({int(whole[i]["image"]) for i in range(6)}) == 6
    assert torch.equal(whole.subset([4])[0]["points"], dataset.split("train").targets[1]["points"])
    assert whole.identity() != split.targets.identity() and whole.known().all() and (whole.key_points() == 6).all()
    mapped = split.targets.mapped([0, 2, 1, *range(3, 17)], 17)
    assert torch.equal(mapped[0]["points"][:, 1], target_of(split, 0)[:, 2])


def target_of(split, place):
    return split.targets[place]["points"]


def test_things_are_learned_one_by_one_without_crowds_and_what_is_unmarked(people):
    def make(plain):
        plain["annotations"][0]["iscrowd"] = 1
        plain["annotations"][1].update(keypoints=[0] * 51, num_keypoints=0)

    dataset = moganet.open_data(change(people, make))
    parts = apart(dataset).split("train")
    assert len(dataset.split("train")) == 3 and len(parts) == 4 and len(dataset.split("train").targets.boxes(0)) == 0
    assert parts.targets.strata().shape == (4, 17) and len(parts.subset([1, 2])) == 2
    batch = parts.targets.stack([parts.targets[i] for i in range(3)])
    assert batch["points"].shape == (3, 17, 3) and batch["image"].tolist() == [1, 1, 2]


def test_things_of_several_splits_become_those_of_one(people):
    splits = apart(moganet.open_data(f"keypoints:{people}")).splits
    first, second = splits["val"].subset([3, 1]), splits["train"]
    whole = first.joined([second])
    expected = [*(first.targets[i] for i in range(2)), *(second.targets[i] for i in range(len(second)))]
    assert len(whole.files) == len(whole.targets) == len(expected) == 2 + 6
    for i, one in enumerate(expected):
        assert all(torch.equal(whole.targets[i][name], value) for name, value in one.items())
    assert torch.equal(second.joined([second.subset([4])]).targets[6]["points"], second.targets[4]["points"])


def outside(plain):
    plain["annotations"][2]["keypoints"][:3] = [500, 20, 2]


BROKEN = {
    "17 key points": lambda plain: plain["annotations"][0]["keypoints"].pop(),
    "is marked 3": lambda plain: plain["annotations"][1]["keypoints"].__setitem__(2, 3),
    "is no number": lambda plain: plain["annotations"][1]["keypoints"].__setitem__(0, float("nan")),
    "'12'": lambda plain: plain["annotations"][1]["keypoints"].__setitem__(0, "12"),
    "lies outside": outside,
    "no list of key points": lambda plain: plain["annotations"][0].pop("keypoints"),
    "is no box": lambda plain: plain["annotations"][0].pop("bbox"),
    "no box in the image": lambda plain: plain["annotations"][0].update(bbox=[900, 10, 5, 5]),
    "bbox .* is no box": lambda plain: plain["annotations"][0].update(bbox=[1, 1, 0, 5]),
    "its area 1000": lambda plain: plain["annotations"][0].update(area=10**400),
    "'1000": lambda plain: plain["annotations"][1]["keypoints"].__setitem__(0, 10**400),
    "its area": lambda plain: plain["annotations"][0].update(area=-1),
    "there is no image": lambda plain: plain["images"][1].update(file_name="gone.png"),
    "where 20x160 stands": lambda plain: plain["images"][1].update(width=20),
    "which the file does not have": lambda plain: plain["annotations"][0].update(image_id=77),
    "stands there twice": lambda plain: plain["annotations"][0].update(id=2),
    "is no record": lambda plain: plain["annotations"].append(7),
    "no number and file_name": lambda plain: plain["images"].append({"id": "x"}),
}


@pytest.mark.parametrize("said", BROKEN)
def test_what_is_wrong_is_named_and_left_out_where_that_is_asked_for(said, people):
    spec = change(people, BROKEN[said])
    with pytest.raises(UnusableDataError, match=said) as error:
        moganet.open_data(spec)
    assert "person_keypoints_train2017.json" in str(error.value) and "broken" not in str(error.value)
    dataset = moganet.open_data(f"{spec}?broken=drop")
    kept = apart(dataset).split("train")
    assert 4 <= len(kept) <= 6 and any(note.startswith("passed over") for note in dataset.notes)
    assert any("passed" in finding.kind for finding in dataset.findings)


def test_key_points_outside_may_be_kept_or_unmarked(people):
    spec = change(people, outside)
    kept = moganet.open_data(f"{spec}?outside=keep").split("train").targets[1]["points"][0, 0]
    gone = moganet.open_data(f"{spec}?outside=unmark").split("train").targets[1]["points"][0, 0]
    assert kept.tolist() == [500, 20, 2] and gone.tolist() == [0, 0, 0]
    around = change(people, lambda plain: plain["annotations"][2].pop("bbox"))
    boxes = moganet.open_data(f"{around}?box=around&outside=unmark").split("train").targets.boxes(1)
    assert (boxes[:, 2:4] > 20).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda plain: plain["categories"][0].pop("keypoints"), "no category with key points"),
        (lambda plain: plain["categories"][0]["keypoints"].__setitem__(0, "beak"), "other key points"),
        (lambda plain: plain["categories"][0].update(skeleton=[[1, 99]]), "no pair of 1 to 17"),
        (lambda plain: plain["categories"].append({**category(), "id": 2, "name": "dog"}), "category=NAME"),
        (lambda plain: plain["categories"][0]["keypoints"].__setitem__(0, "left_eye"), "no two the same"),
    ],
)
def test_a_file_whose_categories_can_not_be_told_is_refused(make, said, people):
    with pytest.raises(DataError, match=said):
        moganet.open_data(change(people, make))


def test_what_is_asked_otherwise_is_known(people):
    for query, said in (
        ("outside=clip", "choose one of"),
        ("foo=1", "nothing that a set"),
        ("category=dog", "no such category"),
    ):
        with pytest.raises(DataError, match=said):
            moganet.open_data(f"keypoints:{people}?{query}")
    with pytest.raises(DataError, match="needs a path"):
        moganet.open_data("keypoints")


def test_a_flat_folder_of_other_key_points_says_what_it_takes_them_for(tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    Image.new("RGB", (60, 40), (9, 9, 9)).save(tmp_path / "a.png")
    one = {"id": 1, "image_id": 4, "category_id": 7, "bbox": [2, 2, 30, 30], "keypoints": [5, 5, 2, 20, 20, 1]}
    plain = {
        "images": [{"id": 4, "file_name": "a.png"}],
        "annotations": [one],
        "categories": [{"id": 7, "name": "dog", "keypoints": ["left_paw", "right_paw"]}],
    }
    (tmp_path / "dogs.json").write_text(json.dumps(plain))
    dataset = moganet.open_data(f"keypoints:{tmp_path}")
    skeleton = dataset.split("train").targets.marks.skeleton
    assert skeleton.mirrored == (1, 0) and skeleton.sigmas == (0.5, 0.5) and skeleton.lower == (True, True)
    assert "1 pair of left and right" in caplog.text and "without an area" in caplog.text
    assert dataset.split("train").targets[0]["areas"].item() == pytest.approx(0.53 * 900)


def test_crops_carry_their_key_points_and_mirror_left_and_right(people):
    sample = apart(moganet.open_data(f"keypoints:{people}")).split("train")[0]
    plain, target = crop_of_box(sample.image, sample.target, OWN)
    assert plain.shape == (3, 64, 48) and target["places"].shape == (17, 3)
    inside = target["places"][:, :2]
    assert (inside > 0).all() and (inside < torch.tensor([48, 64])).all()
    for seed in range(6):
        torch.manual_seed(seed)
        seen, moved = BoxCrop(AugmentConfig(hflip=1.0), OWN)(sample.image, sample.target)
        assert torch.equal(moved["places"][:, 2], target["places"][list(COCO.mirrored), 2])
        assert (moved["places"][list(COCO.mirrored), 0] - (48 - target["places"][:, 0])).abs().max() < 1.5
        assert (seen[..., 1:].float() - plain.flip(2)[..., :-1].float()).abs().mean() < 1  # as the reference mirrors
    image, (left, top, _) = torch.zeros_like(sample.image), sample.target["points"][0].round().int().tolist()
    image[:, top - 3 : top + 4, left - 3 : left + 4] = 255  # around the nose
    torch.manual_seed(0)
    augment = AugmentConfig(hflip=0.5, rotation=40, zoom=(0.5, 1.5), translate=0.16, half_body=0.5)
    for _ in range(20):
        seen, moved = BoxCrop(augment, OWN)(image, sample.target)
        x, y, _ = moved["places"][0].tolist()
        if 0 < x < 47 and 0 < y < 63:
            assert seen[0, round(y), round(x)] > 100


# Boxes that are given


def tables(tmp_path):
    (tmp_path / "a.csv").write_text("file,x,y,w,h\np/1.png,1,2,30,40\np/2.png,5,6,7,8\np/1.png,9,9,9,9\n")
    (tmp_path / "b.csv").write_text("image;x1;y1;x2;y2;score\n1.png;1;2;31;42;0.5\n")
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5},
        {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1},
    ]
    (tmp_path / "c.json").write_text(json.dumps(results))
    images = [{"id": 8, "file_name": "1.png"}]
    boxes = [{"id": 1, "image_id": 8, "category_id": 1, "bbox": [1, 2, 30, 40]}]
    (tmp_path / "d.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]})
    )
    (tmp_path / "e.csv").write_text(
        "file,name,score,left,top,right,bottom,pixels\n1.png,person,0.5,1,2,31,42,\n1.png,dog,1,1,2,3,4,\n"
    )


@pytest.mark.parametrize(
    ("name", "score", "number"),
    [("a.csv", 1, 2), ("b.csv", 0.5, 1), ("c.json", 0.5, 1), ("d.json", 1, 1), ("e.csv", 0.5, 1)],
)
def test_boxes_are_read_of_tables_and_json(name, score, number, tmp_path, caplog):
    tables(tmp_path)
    (boxes,) = read_boxes(tmp_path / name).of([str(tmp_path / "p" / "1.png")])
    assert boxes.shape == (number, 5) and boxes[0].tolist() == [1, 2, 30, 40, score]


def test_images_without_boxes_and_boxes_without_images_are_said(tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    tables(tmp_path)
    found = read_boxes(tmp_path / "a.csv").of(["p/1.png", "q/7.png"])
    assert (
        [len(boxes) for boxes in found] == [2, 0]
        and "1 image of 2 have no box" in caplog.text
        and "p/2.png" in caplog.text
    )
    with pytest.raises(DataError, match="no box in any"):
        read_boxes(tmp_path / "a.csv").of(["z.png"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,x,y,w,h\na.png,1,2,0,4\n", "without an area"),
        ("file,x,y,w,h\na.png,1,nan,3,4\n", "without an area"),
        ("file,x,y,w,h\na.png,1,two,3,4\n", "no numbers"),
        ("file,x,y\na.png,1,2\n", "no columns of boxes"),
        ("x,y,w,h\n1,2,3,4\n", "no column of the image"),
    ],
)
def test_boxes_that_are_none_are_refused(text, said, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_boxes(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "plain", ['{"images": 3}', "[1, 2]", "{", '[{"image_id": 1}]', '[{"image_id": 1, "bbox": [1, 2]}]']
)
def test_json_that_holds_no_boxes_is_refused(plain, tmp_path):
    (tmp_path / "x.json").write_text(plain)
    with pytest.raises(DataError, match=r"x\.json"):
        read_boxes(tmp_path / "x.json")

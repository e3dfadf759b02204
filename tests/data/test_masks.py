"""Images with masks: every layout and form of masks means the same classes; what can't be used is named or skipped."""

import json
import struct
import zlib

import numpy as np
import pytest
import torch
from conftest import real_data
from PIL import Image
from torchvision import tv_tensors

from moganet import open_data
from moganet.data.findings import UnusableDataError
from moganet.data.masks_coding import IGNORED
from moganet.data.masks_find import find_pairs
from moganet.data.masks_names import CAMVID, CITYSCAPES, read_names
from moganet.data.outlines import compressed, runs_of, runs_of_mask
from moganet.data.scan import scan
from moganet.engine.doctor import doctor
from moganet.errors import DataError

LABELS = np.arange(48).reshape(6, 8) % 3  # 0, 1, 2 in turns
SIZE = (8, 6)


def image(path, size=SIZE, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(
        np.random.RandomState(zlib.crc32(path.as_posix().encode())).randint(0, 256, (*size[::-1], 3), np.uint8)
    ).save(path, **how)


def mask(path, values=LABELS, palette=None, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = values if isinstance(values, Image.Image) else Image.fromarray(np.asarray(values).astype(np.uint8))
    if palette is not None:
        made = made.convert("P") if made.mode != "L" else Image.fromarray(np.asarray(made), "P")
        made.putpalette(palette)
    made.save(path, **how)


def simple(root, values=LABELS, number=2, **how):
    """Make images/ and masks/ of one split."""
    for i in range(number):
        image(root / "images" / f"{i}.jpg")
        mask(root / "masks" / f"{i}.png", values, **how)
    return root


def open_masks(root, query=""):
    return open_data(f"masks:{root}{query}")


def labels(dataset, split="train", place=0):
    target = dataset.splits[split][place].target
    assert isinstance(target, tv_tensors.Mask) and target.dtype == torch.int16
    return target.numpy()


LAYOUTS = {  # of image and mask, by split
    "by kind": ("images/{split}/{name}.jpg", "masks/{split}/{name}.png"),
    "by split": ("{split}/images/{name}.jpg", "{split}/masks/{name}.png"),
    "camvid": ("{split}/{name}.png", "{split}annot/{name}.png"),
    "ade20k's folders": ("images/{split}ing/{name}.jpg", "annotations/{split}ing/{name}.png"),
    "beside each other": ("{split}/{name}.jpg", "{split}/{name}.png"),
    "beside, by name": ("{split}/{name}.png", "{split}/{name}_mask.png"),
    "words joined": ("{split}_images/{name}.png", "{split}_labels/{name}.png"),
    "deep": ("data/{split}/town/leftImg8bit/{name}.png", "data/{split}/town/gtFine/{name}.png"),
    "stems with their kind": ("images/{split}/{name}.jpg", "labels/{split}/{name}_L.png"),
    "upper case": ("{split}/Images/{name}.JPG", "{split}/SegmentationMasks/{name}.PNG"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pairs(layout, tmp_path):
    for split in ("train", "val"):
        if split == "val" and "ing" in LAYOUTS[layout][0]:
            continue
        for name in ("a1", "b2"):
            at, of = (tmp_path / text.format(split=split, name=name) for text in LAYOUTS[layout])
            image(at, format="JPEG" if at.suffix.lower() == ".jpg" else "PNG")
            mask(of, (LABELS + (name == "b2")) % 3, format="PNG")
    dataset = open_masks(tmp_path)
    assert dataset.class_names == ("0", "1", "2") and "train" in dataset.splits
    for split in dataset.splits:
        assert [file.stem for file in dataset.splits[split].files] == ["a1", "b2"]
        assert (labels(dataset, split) == LABELS).all() and (labels(dataset, split, 1) == (LABELS + 1) % 3).all()
    again = open_masks(tmp_path)
    assert again.fingerprint() == dataset.fingerprint()


def test_a_path_alone_is_recognised_and_class_folders_are_not_taken_for_masks(tmp_path):
    dataset = open_data(str(simple(tmp_path / "set")))
    assert dataset.spec.startswith("masks:") and dataset.class_names == ("0", "1", "2")
    for name in ("masks", "gloves"):  # things that are worn
        for i in range(3):
            image(tmp_path / "worn" / name / f"{name}{i}.jpg")
    assert open_data(str(tmp_path / "worn")).class_names == ("gloves", "masks")


def test_other_names_of_folders_are_told_and_others_are_refused(tmp_path):
    image(tmp_path / "x" / "a.png")
    mask(tmp_path / "y" / "a.png")
    with pytest.raises(DataError, match="images=NAME&masks=NAME"):
        open_masks(tmp_path)
    assert len(open_masks(tmp_path, "?images=x&masks=y").split("train")) == 1
    with pytest.raises(DataError, match="no such folder"):
        open_masks(tmp_path, "?images=x&masks=../y")
    for query, said in (
        ("?colour=1", "known: images"),
        ("?missing=maybe", "refuse, skip"),
        ("?ignore=a", "ignore=0,255"),
    ):
        with pytest.raises(DataError, match=said):
            open_masks(tmp_path, query)


def test_lists_of_stems_divide_a_set(tmp_path):
    for i in range(4):
        image(tmp_path / "JPEGImages" / f"{i}.jpg")
        mask(tmp_path / "SegmentationClass" / f"{i}.png", palette=[0, 0, 0, 128, 0, 0, 0, 128, 0])
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n2\n")
    (lists / "val.txt").write_text("3\n")
    dataset = open_masks(tmp_path)
    assert [file.stem for file in dataset.split("train").files] == ["0", "2"] and len(dataset.split("val")) == 1
    assert dataset.class_names[1] == "aeroplane" and "VOC" in " ".join(dataset.notes)


def test_pascal_voc_as_it_is_unpacked(tmp_path):
    """Its masks of objects are passed over, lists lie below, and names in them that nothing has are said."""
    own = tmp_path / "VOCdevkit" / "VOC2012"
    for i in range(3):
        image(own / "JPEGImages" / f"{i}.jpg")
        for kind in ("SegmentationClass", "SegmentationObject"):
            mask(own / kind / f"{i}.png", palette=[0, 0, 0, 128, 0, 0, 0, 128, 0])
    (own / "ImageSets" / "Segmentation").mkdir(parents=True)
    (own / "ImageSets" / "Segmentation" / "train.txt").write_text("0\n1\n7\n")
    (own / "ImageSets" / "Segmentation" / "val.txt").write_text("2\n")
    for root in (own, tmp_path):
        dataset = open_masks(root)
        assert [len(split) for split in dataset.splits.values()] == [2, 1] and len(dataset.class_names) == 21
        assert "7 of train.txt" in " ".join(dataset.notes)
    image(own / "JPEGImages" / "without 1.jpg")  # as most of its images are
    assert all(open_data(f"{root}?missing=skip").spec.startswith("masks:") for root in (own, own.parent))


@pytest.mark.parametrize("others", [("labels", "masks"), ("annotations/trimaps",)])
def test_images_beside_masks_are_never_two_classes(others, tmp_path):
    """Even where the masks can't be matched: then what to say is named."""
    for i in range(2):
        for folder in ("images", *others):
            mask(tmp_path / folder / f"{i}.png")
    with pytest.raises(DataError, match="images=NAME&masks=NAME"):
        open_data(str(tmp_path))


# What values mean


def test_depths_and_kinds_of_index_images_keep_their_values(tmp_path):
    def png(bits):  # Pillow writes grey of 2 and 4 bits in no way, and spreads them as it reads
        rows = b""
        for row in LABELS:
            packed, per = bytearray(), 8 // bits
            for start in range(0, 8, per):
                packed.append(sum(int(v) << (8 - bits * (i + 1)) for i, v in enumerate(row[start : start + per])))
            rows += b"\0" + bytes(packed)

        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        head = struct.pack(">IIBBBBB", *SIZE, bits, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    names = ("grey2", "grey4", "sixteen", "indexed", "colours", "tiff", "gif", "opaque")
    for name in names:
        image(tmp_path / "images" / f"{name}.jpg")
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "grey2.png").write_bytes(png(2))
    (folder / "grey4.png").write_bytes(png(4))
    Image.fromarray(LABELS.astype(np.uint16)).save(folder / "sixteen.png")
    mask(folder / "indexed.png", palette=[9, 9, 9, 200, 0, 0, 0, 0, 250])
    Image.fromarray(LABELS.astype(np.float32)).save(folder / "tiff.tif")
    mask(folder / "gif.gif")
    opaque = np.stack([LABELS, np.full_like(LABELS, 255)], -1).astype(np.uint8)
    Image.fromarray(opaque, "LA").save(folder / "opaque.png")
    (tmp_path / "images" / "colours.jpg").unlink()
    dataset = open_masks(tmp_path)
    assert dataset.class_names == ("0", "1", "2")
    for place, file in enumerate(dataset.split("train").files):
        assert (labels(dataset, place=place) == LABELS).all(), file


def test_grey_colours_are_numbers_and_it_is_said(tmp_path):
    simple(tmp_path, Image.fromarray(np.stack([LABELS] * 3, -1).astype(np.uint8)))
    dataset = open_masks(tmp_path)
    assert (labels(dataset) == LABELS).all() and "grey colours" in " ".join(dataset.notes)


@pytest.mark.parametrize(
    ("values", "query", "names", "expected", "said"),
    [
        (LABELS, "", ("0", "1", "2"), LABELS, "3 classes without names"),
        (np.where(LABELS == 2, 255, LABELS), "", ("0", "1"), np.where(LABELS == 2, IGNORED, LABELS), "255 of none"),
        (np.where(LABELS == 0, 0, 255), "", ("0", "255"), np.minimum(LABELS, 1), "took 0 and 255"),
        (np.where(LABELS == 0, 0, 255), "?ignore=255", ("0",), np.where(LABELS == 0, 0, IGNORED), "255 of none"),
        (LABELS, "?ignore=0", ("1", "2"), LABELS - 1, "0 of none"),
        (LABELS, "?ignore=1", ("0", "2"), np.array([0, IGNORED, 1])[LABELS], "1 of none"),
        (LABELS, "?reduce_zero=true", ("0", "1"), LABELS - 1, "0 of none"),
        (LABELS * 100, "?values=0,100,200", ("0", "100", "200"), LABELS, None),
        (LABELS * 100, "?values=200,0,100", ("0", "100", "200"), LABELS, None),
    ],
)
def test_values_without_names_are_counted_and_what_was_taken_is_said(values, query, names, expected, said, tmp_path):
    dataset = open_masks(simple(tmp_path, values), query)
    assert dataset.class_names == names and (labels(dataset) == expected).all()
    assert said is None or said in " ".join(dataset.notes)
    targets = dataset.split("train").targets
    counts = np.bincount(expected[expected >= 0], minlength=len(names))
    assert targets.areas().tolist() == (2 * counts).tolist()
    assert open_data(dataset.spec).class_names == names


def test_values_that_count_nothing_are_refused_with_what_to_say(tmp_path):
    with pytest.raises(DataError, match=r"values=0,128,255"):
        open_masks(simple(tmp_path, LABELS * 100))


CLASS_FILES = {
    "names.txt": "sky\nroad\ncar\n",
    "classes.txt": "0: sky\n1: road\n2: car\n",
    "labels.txt": "0 sky\n1 road\n2 car\n",
    "label_colors.txt": "70 130 180\tsky\n128 64 128\troad\n0 0 142\tcar\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nsky:70,130,180::\nroad:128,64,128::\ncar:0,0,142::\n",
    "class_dict.csv": "name,r,g,b\nsky,70,130,180\nroad,128,64,128\ncar,0,0,142\n",
    "classes.json": json.dumps(["sky", "road", "car"]),
    "id2label.json": json.dumps({"0": "sky", "1": "road", "2": "car"}),
    "palette.json": json.dumps({"sky": [70, 130, 180], "road": [128, 64, 128], "car": [0, 0, 142]}),
    "label_map.json": json.dumps(
        {"classes": [{"id": 0, "name": "sky"}, {"id": 1, "name": "road"}, {"id": 2, "name": "car"}]}
    ),
}


@pytest.mark.parametrize("name", CLASS_FILES)
def test_lists_of_classes_are_found_beside_the_images_or_named(name, tmp_path):
    root = simple(tmp_path / "set")
    (root / name).write_text(CLASS_FILES[name])
    found = open_masks(root)
    assert found.class_names == ("sky", "road", "car") and (labels(found) == LABELS).all()
    assert name in " ".join(found.notes)
    (root / name).rename(tmp_path / f"other-{name}")
    named = open_masks(root, f"?names={tmp_path}/other-{name}")
    assert named.class_names == found.class_names and not named.notes
    colours = read_names(tmp_path / f"other-{name}").colours
    assert colours in ((), ((70, 130, 180), (128, 64, 128), (0, 0, 142)))


def test_a_class_called_void_is_none(tmp_path):
    root = simple(tmp_path)
    (root / "classes.txt").write_text("sky\nvoid\nroad\n")
    dataset = open_masks(root)
    assert dataset.class_names == ("sky", "road") and (labels(dataset) == np.array([0, IGNORED, 1])[LABELS]).all()
    (root / "classes.txt").write_text("sky\nroad\nsky\n")
    with pytest.raises(DataError, match="twice"):
        open_masks(root)


COLOURS = np.array([(70, 130, 180), (128, 64, 128), (0, 0, 142)], np.uint8)


def test_colours_are_classes_by_their_list_whatever_the_form(tmp_path):
    for name in ("plain", "opaque", "indexed", "other"):
        image(tmp_path / "images" / f"{name}.jpg")
    pixels, folder = COLOURS[LABELS], tmp_path / "masks"
    mask(folder / "plain.png", Image.fromarray(pixels))
    mask(folder / "opaque.png", Image.fromarray(np.dstack([pixels, np.full(LABELS.shape, 255, np.uint8)])))
    mask(folder / "indexed.png", palette=COLOURS.ravel().tolist())
    order = np.array([2, 0, 1])  # a palette in another order, as tools write it
    mask(folder / "other.png", order[LABELS], palette=COLOURS[np.argsort(order)].ravel().tolist())
    with pytest.raises(DataError, match=r"names=FILE"):
        open_masks(tmp_path)
    (tmp_path / "class_dict.csv").write_text(CLASS_FILES["class_dict.csv"])
    dataset = open_masks(tmp_path)
    assert dataset.class_names == ("sky", "road", "car")
    for place in range(4):
        assert (labels(dataset, place=place) == LABELS).all(), dataset.split("train").files[place]
    assert dataset.split("train").targets.colours[1] == (128, 64, 128)


def test_values_to_ignore_are_numbers_of_classes_where_masks_hold_colours_too(tmp_path):
    table = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]], np.uint8)
    simple(tmp_path, Image.fromarray(table[LABELS]))
    (tmp_path / "classes.txt").write_text("a 9 0 0\nb 0 9 0\nc 0 0 9\n")
    dataset = open_masks(tmp_path, "?ignore=1")
    assert dataset.class_names == ("a", "c") and (labels(dataset) == np.array([0, IGNORED, 1])[LABELS]).all()
    for query, said in (("?ignore=9", "no class 9; its classes are 0 to 2"), ("?ignore=0,1,2", "leave some")):
        with pytest.raises(DataError, match=said):
            open_masks(tmp_path, query)


def test_values_to_ignore_come_beside_255_and_those_of_no_mask_are_said(tmp_path):
    simple(tmp_path, np.where(LABELS == 2, 255, LABELS))
    dataset = open_masks(tmp_path, "?ignore=1,11")
    assert dataset.class_names == ("0",) and "no mask holds 11" in " ".join(dataset.notes)
    with pytest.raises(DataError, match="no mask holds 1000"):
        open_masks(tmp_path, "?ignore=1" + "0" * 30)


def test_black_and_white_are_the_two_classes_of_a_list(tmp_path):
    simple(tmp_path, (LABELS > 0) * 255)
    (tmp_path / "classes.txt").write_text("skin\nmole\n")
    dataset = open_masks(tmp_path)
    assert (labels(dataset) == (LABELS > 0)).all() and "took 255" in " ".join(dataset.notes)
    assert (labels(open_masks(tmp_path, "?ignore=255")) == np.where(LABELS > 0, IGNORED, 0)).all()
    simple(tmp_path / "white", LABELS * 0 + 255)
    with pytest.raises(DataError, match="nothing but 255"):
        open_masks(tmp_path / "white")


@pytest.mark.parametrize(
    "text",
    ["id,name\n2,c\n0,a\n1,b", "c 2\na 0\nb 1", "name;id\na;0\nc;2\nb;1", "class,r,g,b\na,0,0,0\nb,1,1,1\nc,2,2,2"],
)
def test_numbers_stand_before_or_after_names_under_any_heading(text, tmp_path):
    (tmp_path / "list.csv").write_text(text)
    assert read_names(tmp_path / "list.csv").names == ("a", "b", "c")
    (tmp_path / "list.csv").write_text("grade 3\ngrade 1")  # names that end with numbers
    assert read_names(tmp_path / "list.csv").names == ("grade 3", "grade 1")


def test_palettes_of_their_own_are_refused_without_a_list(tmp_path):
    simple(tmp_path, number=1, palette=COLOURS.ravel().tolist())
    image(tmp_path / "images" / "9.jpg")
    mask(tmp_path / "masks" / "9.png", palette=COLOURS[::-1].ravel().tolist())
    with pytest.raises(DataError, match="palettes of their own"):
        open_masks(tmp_path)


def test_well_known_sets_are_recognised(tmp_path):
    camvid = tmp_path / "camvid"
    for i in range(2):
        image(camvid / "train" / f"0001TP_00678{i}.png")
        mask(camvid / "trainannot" / f"0001TP_00678{i}.png", np.arange(48).reshape(6, 8) % 12)
    dataset = open_masks(camvid)
    assert dataset.class_names == tuple(name for name, _ in CAMVID[:-1]) and labels(dataset)[1, 3] == IGNORED
    for ids, values in (("labelIds", [7, 8, 3]), ("labelTrainIds", [0, 1, 255])):
        cityscapes = tmp_path / ids
        stem = "aachen_000000_000019"
        image(cityscapes / "leftImg8bit" / "train" / "aachen" / f"{stem}_leftImg8bit.png")
        folder = cityscapes / "gtFine" / "train" / "aachen"
        mask(folder / f"{stem}_gtFine_{ids}.png", np.array(values)[LABELS])
        mask(folder / f"{stem}_gtFine_color.png", Image.fromarray(COLOURS[LABELS]))
        mask(folder / f"{stem}_gtFine_instanceIds.png")
        dataset = open_masks(cityscapes)
        assert dataset.class_names == tuple(name for _, name, _ in CITYSCAPES)
        assert (labels(dataset) == np.array([0, 1, IGNORED])[LABELS]).all()
        assert "passed over: 2 files" in " ".join(dataset.notes)
    ade = tmp_path / "ADEChallengeData2016"
    image(ade / "images" / "training" / "ADE_train_00000001.jpg")
    mask(ade / "annotations" / "training" / "ADE_train_00000001.png", np.array([0, 1, 150])[LABELS])
    dataset = open_masks(ade)
    assert len(dataset.class_names) == 150 and (labels(dataset) == np.array([IGNORED, 0, 149])[LABELS]).all()


# What can't be used


FAULTS = {
    "missing": (lambda path: path.unlink(), "have no mask"),
    "size": (lambda path: mask(path, LABELS[:, :4]), "4x6, but its image 8x6"),
    "unknown": (lambda path: mask(path, LABELS + 5), "the values 5, 6, 7"),
    "unreadable": (lambda path: path.write_bytes(path.read_bytes()[:60]), "2.png"),
    "lossy": (lambda path: mask(path, format="JPEG"), "JPEG, which changes values"),
    "colours": (
        lambda path: mask(path, Image.fromarray(COLOURS[LABELS])),
        "holds colours where other masks hold numbers",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_faulty_mask_is_named_refused_or_skipped_and_counted(kind, tmp_path):
    root = simple(tmp_path, number=3)
    (root / "classes.txt").write_text("a\nb\nc\n")
    spoil, said = FAULTS[kind]
    spoil(root / "masks" / "2.png")
    with pytest.raises(UnusableDataError, match=said) as caught:
        open_masks(root)
    assert "2." in str(caught.value) and f"{kind}=skip" in str(caught.value) and "\n" not in str(caught.value)
    found = doctor(f"masks:{root}")
    assert not found.ok and any(said in finding.detail for finding in found.findings)
    dataset = open_masks(root, f"?{kind}=skip")
    assert len(dataset.split("train")) == 2 and any("passed over: 1" in note for note in dataset.notes)


def test_masks_of_another_size_or_with_unknown_values_are_mended_where_that_is_asked(tmp_path):
    root = simple(tmp_path)
    (root / "classes.txt").write_text("a\nb\n")
    mask(root / "masks" / "1.png", np.repeat(np.repeat(LABELS % 2, 2, 0), 2, 1))
    dataset = open_masks(root, "?size=resize&unknown=ignore")
    assert (labels(dataset) == np.where(LABELS == 2, IGNORED, LABELS)).all()
    assert (labels(dataset, place=1) == LABELS % 2).all()


def test_masks_of_a_photograph_before_it_was_turned_are_not_torn(tmp_path):
    image(tmp_path / "images" / "a.jpg", exif=Image.Exif())
    mask(tmp_path / "masks" / "a.png", LABELS.T)
    image(tmp_path / "images" / "b.jpg")
    mask(tmp_path / "masks" / "b.png")
    for query in ("", "?size=resize"):
        with pytest.raises(UnusableDataError, match="6x8, but its image 8x6 upright; turn the mask"):
            open_masks(tmp_path, query)
    for query in ("?turned=skip", "?size=skip"):
        assert len(open_masks(tmp_path, query).split("train")) == 1


def test_a_turned_photograph_has_a_mask_of_its_upright_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image(tmp_path / "images" / "a.jpg", (6, 8), exif=exif)
    mask(tmp_path / "masks" / "a.png")
    sample = open_masks(tmp_path).split("train")[0]
    assert sample.image.shape[1:] == sample.target.shape == (6, 8)


def test_two_masks_of_an_image_and_nothing_at_all_are_said(tmp_path):
    root = simple(tmp_path)
    mask(root / "annotations" / "1.png")
    with pytest.raises(DataError, match="may both be the mask"):
        open_masks(root)
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "empty", "no images with masks"), (tmp_path / "no", "there is no folder")):
        with pytest.raises(DataError, match=said):
            open_masks(path)


def test_a_fingerprint_follows_masks_too_and_parts_keep_theirs(tmp_path):
    root = simple(tmp_path, number=3)
    before = open_masks(root).fingerprint()
    mask(root / "masks" / "1.png", (LABELS + 1) % 3)
    after = open_masks(root)
    assert before != after.fingerprint() != open_masks(root, "?ignore=2").fingerprint()
    part = after.split("train").subset([2, 1])
    assert (part[1].target.numpy() == (LABELS + 1) % 3).all() and part.targets.pixels.shape == (2, 3)
    moved = part.with_targets(part.targets.mapped([1, -1, 0], 2))
    assert (moved[0].target.numpy() == np.array([1, IGNORED, 0])[LABELS]).all()
    assert moved.targets.areas().tolist() == [32, 32]
    joined = part.joined([after.split("train").subset([0])])
    assert len(joined) == 3 and len({joined.targets.text(i, after.class_names) for i in range(3)}) == 2
    held = after.with_validation(0.4, 0)
    assert len(held.split("train")) == 2 and len(held.split("val")) == 1


# COCO


def coco(root, split, annotations, **more):
    image(root / f"{split}2017" / "7.jpg")
    plain = {
        "images": [{"id": 7, "file_name": "7.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 3, "name": "car"}, {"id": 90, "name": "tree"}],
        "annotations": annotations,
        **more,
    }
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(plain))


def test_outlines_are_drawn_the_smaller_over_the_larger(tmp_path):
    whole = {"image_id": 7, "category_id": 90, "area": 48, "segmentation": [[0, 0, 8, 0, 8, 6, 0, 6]]}
    part = {"image_id": 7, "category_id": 3, "area": 6, "segmentation": [[0, 0, 2, 0, 2, 1, 0, 1]]}
    coco(tmp_path, "train", [part, whole])
    coco(tmp_path, "val", [])
    dataset = open_masks(tmp_path)
    assert dataset.class_names == ("background", "car", "tree") and set(dataset.splits) == {"train", "val"}
    assert labels(dataset)[0, 0] == 1 and labels(dataset)[5, 7] == 2 and (labels(dataset, "val") == 0).all()


def test_runs_are_read_and_written_as_coco_does(tmp_path):
    for seed in range(20):
        drawn = np.random.RandomState(seed).rand(7, 5) < seed / 20
        assert runs_of(compressed(runs_of_mask(drawn))) == runs_of_mask(drawn) and sum(runs_of_mask(drawn)) == 35
    drawn = np.zeros((6, 8), bool)
    drawn[1:3, 2:5] = True
    crowd = {"counts": runs_of_mask(drawn), "size": [6, 8]}
    coco(tmp_path, "train", [{"image_id": 7, "category_id": 3, "iscrowd": 1, "area": 6, "segmentation": crowd}])
    assert ((labels(open_masks(tmp_path)) == 1) == drawn).all()


BROKEN = {
    "category": ({"image_id": 7}, "'category_id' is missing"),
    "runs": ({"image_id": 7, "category_id": 3, "segmentation": {"counts": [3, 4]}}, "runs of 7 pixels for 8 x 6"),
    "text": ({"image_id": 7, "category_id": 3, "segmentation": {"counts": "zz~"}}, "7.jpg can't be"),
    "letters": ({"image_id": 7, "category_id": "x", "segmentation": "abc"}, "COCO's form"),
    "half a point": ({"image_id": 7, "category_id": 3, "segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "coordinates"),
    "unknown": ({"image_id": 7, "category_id": 99, "segmentation": [[0, 0, 5, 0, 5, 5]]}, "the value 99"),
    "number": (3, "COCO's form"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_outlines_are_named(kind, tmp_path):
    coco(tmp_path, "train", [BROKEN[kind][0]])
    with pytest.raises(DataError, match=BROKEN[kind][1]) as caught:
        open_masks(tmp_path)
    assert "instances_train2017.json" in str(caught.value) and "\n" not in str(caught.value)


def test_panoptic_segments_are_classes(tmp_path):
    image(tmp_path / "train2017" / "7.jpg")
    numbers = np.array([0, 5, 70_000])[LABELS]
    colours = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)
    mask(tmp_path / "annotations" / "panoptic_train2017" / "7.png", Image.fromarray(colours))
    segments = [{"id": 5, "category_id": 90}, {"id": 70_000, "category_id": 3}]
    plain = {
        "images": [{"id": 7, "file_name": "7.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 3, "name": "car"}, {"id": 90, "name": "tree"}],
        "annotations": [{"image_id": 7, "file_name": "7.png", "segments_info": segments}],
    }
    (tmp_path / "annotations" / "panoptic_train2017.json").write_text(json.dumps(plain))
    dataset = open_masks(tmp_path)
    assert dataset.class_names == ("car", "tree") and (labels(dataset) == np.array([IGNORED, 1, 0])[LABELS]).all()


def test_real_street_scenes_are_recognised():
    dataset = open_masks(real_data("camvid-mini"))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 30, "val": 15}
    assert dataset.class_names[10] == "cyclist" and len(dataset.class_names) == 11
    direct = [np.asarray(Image.open(file)) for file in dataset.split("val").targets.files]
    counted = sum(np.bincount(one.ravel(), minlength=12) for one in direct)
    assert dataset.split("val").targets.areas().tolist() == counted[:11].tolist()
    assert not find_pairs(real_data("camvid-mini"), scan(real_data("camvid-mini")), {}).others

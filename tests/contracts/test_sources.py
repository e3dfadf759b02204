"""What every data source owes: splits, samples, names, and its own specification."""

import csv
import json
import pickle
import resource
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch
from box_sets import MAKERS
from conftest import real_data
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from moganet import make_shards, open_data
from moganet.data import SOURCES, Sample
from moganet.errors import DataError


@pytest.fixture
def make_source(tmp_path, monkeypatch):
    def make(name):
        if name == "digits":
            return "digits"
        if name == "folder":
            return f"folder:{make_folder(tmp_path / 'photos')}"
        if name == "table":
            return f"table:{make_table(make_folder(tmp_path / 'photos'))}"
        if name == "shards":
            make_shards(str(make_folder(tmp_path / "photos")), tmp_path / "shards")
            return f"shards:{tmp_path / 'shards'}"
        if name == "hub":
            return f"hub:{make_hub(make_folder(tmp_path / 'photos'), tmp_path / 'saved')}"
        if name == "masks":
            return f"masks:{make_masks(tmp_path / 'scenes')}"
        if name == "keypoints":
            return f"keypoints:{make_key_points(tmp_path / 'things')}"
        if name in MAKERS:
            return f"{name}:{MAKERS[name](tmp_path / 'boxes')}"
        return f"{name}:{make_cifar(name, tmp_path, monkeypatch)}"

    return make


def make_folder(root, splits=("train", "val"), number=3):
    for split in splits:
        for label, color in (("blue", (0, 0, 250)), ("red", (250, 0, 0))):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(number):
                Image.new("RGB", (20 + i, 24), color).save(folder / f"{i}.png")
    return root


def make_hub(folder, out):
    """Save a folder as Hugging Face's package saves a data set."""
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["blue", "red"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    parts = {}
    for split in ("train", "val"):
        files = sorted((folder / split).glob("*/*.png"))
        images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
        labels = [file.parent.name for file in files]
        parts[split] = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(out))
    return out


def make_masks(root, number=6):
    """Make images with masks of one class each, as the classes of the other sources are."""
    for split in ("train", "val"):
        for i in range(number):
            for folder in ("images", "masks"):
                (root / folder / split).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20 + i, 24), (40 * i, 0, 250)).save(root / "images" / split / f"{i}.png")
            Image.new("L", (20 + i, 24), i % 2).save(root / "masks" / split / f"{i}.png")
    return root


def make_key_points(root, number=6):
    """Make images with a thing of which one key point is marked, called as the classes of the other sources are."""
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / f"{split}2017").mkdir()
        images, things = [], []
        for i in range(number):
            Image.new("RGB", (20 + i, 24), (40 * i, 0, 250)).save(root / f"{split}2017" / f"{i}.png")
            images.append({"id": i + 1, "file_name": f"{i}.png", "width": 20 + i, "height": 24})
            points = [5, 6, 2, 0, 0, 0] if i % 2 == 0 else [0, 0, 0, 5, 6, 2]
            one = {"id": i + 1, "image_id": i + 1, "category_id": 1, "bbox": [2, 2, 12, 12], "area": 99, "iscrowd": 0}
            things.append({**one, "num_keypoints": 1, "keypoints": points})
        category = {"id": 1, "name": "thing", "keypoints": ["blue", "red"]}
        (root / "annotations" / f"person_keypoints_{split}2017.json").write_text(
            json.dumps({"images": images, "annotations": things, "categories": [category]})
        )
    return root


def classes_of(split):
    """Give the class of each image, of masks the one that they have."""
    strata = torch.from_numpy(split.targets.strata())
    return strata.argmax(1) if split.targets.have_places else strata


def largest(label):
    """Give an image's class, of a mask or of boxes its one class, of key points the one that is marked."""
    if isinstance(label, dict) and "points" in label:
        return int(label["points"][0, :, 2].argmax())
    return int(torch.as_tensor(label["labels"] if isinstance(label, dict) else label).max())


def make_table(root, name="labels.csv", extra=lambda path: {}):
    rows = []
    for path in sorted(root.rglob("*.png")):
        rows.append({"file": str(path.relative_to(root)), "class": path.parent.name, **extra(path)})
    with open(root / name, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root / name


def make_cifar(name, root, monkeypatch, suffix="gz"):
    """Make an archive of the set's layout with few images, and let torchvision expect its sums."""
    import hashlib

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    folder = root / "made" / kind.base_folder
    folder.mkdir(parents=True)
    classes, key = (10, b"labels") if name == "cifar10" else (100, b"fine_labels")

    def write(file, content):
        data = pickle.dumps(content)
        (folder / file).write_bytes(data)
        return [file, hashlib.md5(data).hexdigest()]

    def batch(seed):
        images = np.random.RandomState(seed).randint(0, 256, (20, 3072), dtype=np.uint8)
        return {key.decode(): [i % 5 for i in range(20)], "data": images}

    lists = {
        part: [write(file, batch(i)) for i, (file, _) in enumerate(getattr(kind, part))]
        for part in ("train_list", "test_list")
    }
    meta = write(kind.meta["filename"], {kind.meta["key"]: [f"class {i}" for i in range(classes)]})
    for part, value in lists.items():
        monkeypatch.setattr(kind, part, value)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": meta[1]})
    archive = root / f"{kind.filename.removesuffix('.gz')}.{suffix}"
    with tarfile.open(archive, f"w:{suffix}") as tar:
        tar.add(folder, kind.base_folder)
    return archive


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_gives_labelled_uint8_images_and_opens_again_by_its_spec(name, make_source):
    dataset = open_data(make_source(name))
    assert set(dataset.splits) <= {"train", "val", "test"} and "train" in dataset.splits
    for split in dataset.splits.values():
        sample = split[len(split) - 1]
        assert isinstance(sample, Sample)
        assert sample.image.dtype == torch.uint8 and sample.image.ndim == 3
        label = largest(sample.label)
        assert 0 <= label < len(dataset.class_names) and label == int(classes_of(split)[-1])
        assert len(split.subset([0])) == 1 and torch.equal(split.subset([0])[0].image, split[0].image)
    again = open_data(dataset.spec)
    assert again.spec == dataset.spec and again.class_names == dataset.class_names
    assert torch.equal(classes_of(again.split("train")), classes_of(dataset.split("train")))


@pytest.mark.parametrize("name", SOURCES)
def test_a_held_out_part_is_seeded_stratified_and_disjoint(name, make_source):
    dataset = open_data(make_source(name))
    number = len(dataset.split("train"))
    held = dataset.with_validation(0.5, seed=1)
    assert len(held.split("train")) + len(held.split("val")) == number
    again = dataset.with_validation(0.5, seed=1)
    other = dataset.with_validation(0.5, seed=2)
    names = [{held.split(s)[i].name for i in range(len(held.split(s)))} for s in ("train", "val")]
    if name in ("folder", "table"):
        assert not names[0] & names[1]
    assert torch.equal(classes_of(again.split("val")), classes_of(held.split("val")))
    images = [
        torch.stack([d.split("val")[i].image.float().mean() for i in range(5 if number > 20 else 3)])
        for d in (held, again, other)
    ]
    assert torch.equal(images[0], images[1])
    if number > 20:
        assert not torch.equal(images[0], images[2])
    counts = torch.bincount(classes_of(held.split("val")), minlength=len(dataset.class_names))
    if number > 20 and name != "cifar100":
        assert counts.max() - counts.min() <= 0.1 * number


@pytest.mark.parametrize("name", SOURCES)
def test_a_fraction_keeps_a_share_of_each_class_which_a_larger_one_contains(name, make_source):
    dataset = open_data(make_source(name)).with_validation(0.5, seed=1)
    counts = torch.bincount(classes_of(dataset.split("train")))
    kept = {}
    for fraction in (0.01, 0.3, 0.6):
        part = dataset.with_fraction(fraction, seed=1)
        assert torch.equal(classes_of(part.split("val")), classes_of(dataset.split("val")))
        expected = [max(1, round(fraction * count)) if count else 0 for count in counts.tolist()]
        assert torch.bincount(classes_of(part.split("train"))).tolist() == expected
        kept[fraction] = Counter(
            (largest(label), hash(image.numpy().tobytes())) for image, label, _ in part.split("train")
        )
    assert kept[0.01] <= kept[0.3] <= kept[0.6]
    assert dataset.with_fraction(1.0, 1).fingerprint() == dataset.fingerprint() != part.fingerprint()
    again, other = (dataset.with_fraction(0.6, seed) for seed in (1, 2))
    assert again.fingerprint() == part.fingerprint()
    if counts.sum() > 20:
        assert other.fingerprint() != part.fingerprint()


def test_digits_hold_out_a_stratified_fifth_as_test_set():
    dataset = open_data("digits")
    assert (len(dataset.split("train")), len(dataset.split("test"))) == (1437, 360)
    counts = torch.bincount(dataset.split("test").labels)
    assert counts.min() >= 34 and counts.max() <= 38
    assert dataset.split("test")[0].image.shape == (1, 8, 8)


@pytest.mark.parametrize("suffix", ["gz", "xz"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_from_archive_folder_and_parent_and_recognised(name, suffix, tmp_path, monkeypatch):
    archive = make_cifar(name, tmp_path, monkeypatch, suffix)
    unpacked = next((tmp_path / "made").iterdir())
    labels = open_data(f"{name}:{archive}").split("test").labels
    renamed = unpacked.rename(tmp_path / "renamed")
    for path in (renamed,):
        assert torch.equal(open_data(f"{name}:{path}").split("test").labels, labels)
        assert open_data(str(path)).spec.startswith(f"{name}:")
    assert open_data(str(archive)).spec.startswith(f"{name}:")
    monkeypatch.setenv("MOGANET_DATA", str(tmp_path))
    assert torch.equal(open_data(name).split("test").labels, labels)


@pytest.mark.parametrize("damage", ["truncated", "other", "flipped", "missing"])
def test_a_damaged_archive_gives_one_line_and_leaves_nothing_behind(damage, tmp_path, monkeypatch):
    archive = make_cifar("cifar10", tmp_path, monkeypatch)
    if damage == "truncated":
        archive.write_bytes(archive.read_bytes()[:5000])
    elif damage == "other":
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(__file__, "test.py")
    elif damage == "flipped":
        monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", "0" * 32]])
    else:
        archive.unlink()
    with pytest.raises(DataError) as caught:
        open_data(f"cifar10:{archive}")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("**/.unpacking*"))


def test_cifar_is_downloaded_from_its_address(tmp_path, monkeypatch, http_folder):
    import hashlib

    archive = make_cifar("cifar10", tmp_path, monkeypatch)
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(CIFAR10, "url", f"{http_folder(tmp_path)}/{archive.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    assert len(open_data("cifar10").split("train")) == 100
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/nothing.tar.gz")
    assert len(open_data("cifar10").split("train")) == 100  # from the cache
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "empty"))
    with pytest.raises(DataError, match="by hand"):
        open_data("cifar10")


@pytest.mark.slow
def test_the_real_cifar10_is_read_from_its_archive():
    dataset = open_data(f"cifar10:{real_data('cifar-10-python.tar.xz')}")
    assert (len(dataset.split("train")), len(dataset.split("test"))) == (50000, 10000)
    assert dataset.class_names[3] == "cat" and dataset.split("test").labels[0] == 3
    assert torch.bincount(dataset.split("train").labels).tolist() == [5000] * 10


def test_a_folder_may_be_one_for_all_or_divided(tmp_path):
    divided = open_data(str(make_folder(tmp_path / "a", ("train", "valid", "test"))))
    assert list(divided.splits) == ["train", "val", "test"]
    single = open_data(str(make_folder(tmp_path / "b", ("x",), 10) / "x"))
    assert list(single.splits) == ["train"] and single.class_names == ("blue", "red")
    held = single.with_validation(None, 0)
    assert torch.bincount(held.split("val").labels).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nowhere", "neither a path nor a data source"),
        ("folder:/no/such/folder", "no folder"),
        ("folder", "needs a path"),
        ("digits:/tmp", "takes no path"),
        ("cifar10:/no/such", "there is no"),
    ],
)
def test_a_wrong_specification_says_what_is_right(spec, said):
    with pytest.raises(DataError, match=said):
        open_data(spec)


def test_empty_and_flat_folders_are_said(tmp_path):
    with pytest.raises(DataError, match="no sub-folders"):
        open_data(f"folder:{tmp_path}")
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="no images"):
        open_data(f"folder:{tmp_path}")
    make_folder(tmp_path / "b")
    (tmp_path / "b" / "val" / "green").mkdir()
    assert open_data(str(tmp_path / "b")).class_names == ("blue", "red")
    Image.new("RGB", (5, 5)).save(tmp_path / "b" / "val" / "green" / "x.png")
    with pytest.raises(DataError, match="green"):
        open_data(str(tmp_path / "b"))


@pytest.mark.parametrize("amount", [1437, 5000, "val"])
def test_too_much_validation_is_said(amount):
    with pytest.raises(DataError, match=r"data\.validation"):
        open_data("digits").with_validation(amount, 0)


def test_a_table_divides_by_its_split_column_and_reads_parquet(tmp_path):
    root = make_folder(tmp_path / "photos", ("train", "val"), 3)
    table = make_table(root, extra=lambda path: {"Split": path.parent.parent.name})
    dataset = open_data(str(table))
    assert list(dataset.splits) == ["train", "val"] and dataset.class_names == ("blue", "red")
    assert len(dataset.split("train")) == 6 and dataset.split("val")[0].image.shape[0] == 3
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow.csv

    parquet.write_table(pyarrow.csv.read_csv(table), root / "labels.parquet")
    same = open_data(f"table:{root / 'labels.parquet'}")
    assert torch.equal(same.split("train").labels, dataset.split("train").labels)


def test_a_group_is_never_divided(tmp_path):
    root = make_folder(tmp_path / "photos", ("train",), 20)
    table = make_table(root, extra=lambda path: {"who": f"patient {int(path.stem) // 4}"})
    dataset = open_data(f"table:{table}?group=who")
    for seed in range(5):
        held = dataset.with_validation(0.2, seed)
        kept, val = (set(held.split(name).groups) for name in ("train", "val"))
        assert kept and val and not kept & val
        assert len(held.split("train")) + len(held.split("val")) == 40


@pytest.mark.parametrize(
    ("content", "query", "said"),
    [
        ("", "", "no rows"),
        ("path,label\n", "", "no rows"),
        ("a,b\n1,2\n", "", "which column"),
        ("path,label\nx.png,\n", "", "without a label"),
        ("path,label\nx.png,a\n", "?label=kind", "no column 'kind'"),
        ("path,label\nx.png,a\n", "?colour=a", "choose one of path"),
        ("path,label,split\nx.png,a,nowhere\n", "", "must be train, val or test"),
        ("path,label,split\nx.png,a,val\n", "", "'train'"),
        ("path,label,split\nx.png,a,train\ny.png,b,val\n", "", "train lacks: b"),
        ("path,label\n\xff\xfe", "", "UTF-8"),
    ],
)
def test_a_wrong_table_says_what_is_right(content, query, said, tmp_path):
    (tmp_path / "t.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=said) as caught:
        open_data(f"table:{tmp_path / 't.csv'}{query}")
    assert "\n" not in str(caught.value)


def test_other_delimiters_and_a_byte_order_mark_are_read(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffpath;label\nä.png;kätzchen\n".encode())
    dataset = open_data(str(tmp_path / "t.csv"))
    assert dataset.class_names == ("kätzchen",) and dataset.split("train").files == [tmp_path / "ä.png"]


def test_odd_folders_have_defined_results(tmp_path):
    root = make_folder(tmp_path / "photos", ("train", "val"))
    (root / "train" / "空").mkdir()  # a class without images
    (root / "train" / "один").mkdir()
    Image.new("RGB", (5, 5)).save(root / "train" / "один" / "картинка.png")  # a class with a single image
    (root / "train" / "linked").symlink_to(root / "train" / "red", target_is_directory=True)
    (root / "train" / "red" / "dangling.png").symlink_to(root / "nowhere.png")
    (root / "train" / "red" / "notes.txt").write_text("no image")
    (root / "train" / "red" / ".hidden.png").write_text("no image")
    dataset = open_data(str(root))
    assert dataset.class_names == ("blue", "linked", "red", "один")
    assert "空" in dataset.notes[0]
    assert torch.bincount(dataset.split("train").labels).tolist() == [3, 4, 4, 1]
    held = dataset.with_validation(0.4, 0)
    assert torch.bincount(held.split("train").labels, minlength=4)[3] == 1
    with pytest.raises(DataError, match="dangling"):
        dataset.split("train")[[f.name for f in dataset.split("train").files].index("dangling.png")]


def test_a_class_may_be_called_train_and_an_empty_split_is_left_out(tmp_path):
    for name in ("train", "bus"):
        (tmp_path / "x" / name).mkdir(parents=True)
        Image.new("RGB", (5, 5)).save(tmp_path / "x" / name / "1.png")
    assert open_data(str(tmp_path / "x")).class_names == ("bus", "train")
    root = make_folder(tmp_path / "y")
    (root / "test" / "red").mkdir(parents=True)
    dataset = open_data(str(root))
    assert list(dataset.splits) == ["train", "val"] and "no images" in dataset.notes[0]


def test_a_fingerprint_follows_the_images_and_not_their_place(tmp_path):
    root = make_folder(tmp_path / "a")
    before = open_data(str(root)).fingerprint()
    moved = root.rename(tmp_path / "b")
    assert open_data(str(moved)).fingerprint() == before
    (moved / "train" / "red" / "0.png").rename(moved / "train" / "red" / "9.png")
    assert open_data(str(moved)).fingerprint() != before
    assert open_data("digits").fingerprint() == open_data("digits").fingerprint()


def test_an_unwritable_cache_is_said(tmp_path, monkeypatch):
    archive = make_cifar("cifar10", tmp_path, monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="MOGANET_CACHE"):
        open_data(f"cifar10:{archive}")


@pytest.mark.parametrize("damage", ["content", "linked", "huge header", "long name", "endless"])
def test_an_archive_of_other_content_stays_nowhere_and_costs_nothing(damage, tmp_path, monkeypatch):
    archive = make_cifar("cifar10", tmp_path, monkeypatch)
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    folder = next((tmp_path / "made").iterdir())
    if damage == "content":
        (folder / "data_batch_3").write_bytes(b"other")
    elif damage == "linked":
        (folder / "data_batch_3").unlink()
        (folder / "data_batch_3").symlink_to("/etc/passwd")
    with tarfile.open(archive, "w:gz") as tar:
        if damage in ("huge header", "long name", "endless"):
            head = tarfile.TarInfo("x")
            head.type = {"huge header": tarfile.XHDTYPE, "long name": tarfile.GNUTYPE_LONGNAME}.get(damage, b"0")
            head.size = 2 << 30
            tar.fileobj.write(head.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 16))
        tar.add(folder, folder.name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="archive") as caught:
        open_data(f"cifar10:{archive}")
    assert "\n" not in str(caught.value) and not list((tmp_path / "cache").glob("*"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_what_was_unpacked_is_checked_each_time_and_unpacked_again(tmp_path, monkeypatch):
    archive = make_cifar("cifar10", tmp_path, monkeypatch)
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    before = open_data(f"cifar10:{archive}").fingerprint()
    (batch,) = (tmp_path / "cache").glob("*/*/data_batch_2")
    batch.write_bytes(batch.read_bytes()[:-1] + b"\0")
    assert open_data(f"cifar10:{archive}").fingerprint() == before
    (folder,) = (tmp_path / "made").iterdir()
    (folder / "data_batch_2").write_bytes(b"x")
    with pytest.raises(DataError, match="not a whole cifar10"):
        open_data(f"cifar10:{folder}")


def test_a_download_of_other_content_is_one_line(tmp_path, monkeypatch, http_folder):
    archive = make_cifar("cifar10", tmp_path, monkeypatch)
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(CIFAR10, "url", f"{http_folder(tmp_path)}/{archive.name}")
    with pytest.raises(DataError, match="MD5 sum"):
        open_data("cifar10")
    assert not list((tmp_path / "cache").glob("*")) and not list((tmp_path / "cache").glob(".*.partial"))

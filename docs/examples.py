"""An example or more of each command, and what they print: run in one folder in the table's order, and kept.

The build runs this file once for each version of the code: `python docs/examples.py OUT`.
"""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fingerprint import ROOT, of_files  # beside this file

KEPT = ROOT / "build" / "examples"
CODE = ("moganet", "moganet_cli", "docs/examples.py", "docs/running.py")  # by which outputs are made
FOUND = "examples.json"
LONGEST = 40  # lines of an output that are shown


@dataclass(frozen=True)
class Example:
    """A command, and a picture that it writes. why_not: why the build does not run it."""

    command: str
    picture: str | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class Shown:
    """What an example printed, and its picture where the page finds it."""

    text: str
    picture: str | None


SERVES = "a service runs until it is stopped"
UPLOADS = "it uploads to the hub of the one who calls it"
TUNED = "moganet train digits --from moganet_nano.digits --epochs 1 --set data.fraction=0.3 --set report=false"
EXAMPLES = {
    "settings": [Example("moganet settings digits lr")],
    "train": [Example("moganet train digits --epochs 3 --out runs/digits", "runs/digits/curves.png")],
    "evaluate": [Example("moganet evaluate runs/digits", "runs/digits/evaluation-test/confusion.png")],
    "report": [Example("moganet report runs/digits")],
    "tune": [
        Example(
            "moganet tune digits --trials 3 --epochs 1 --set data.fraction=0.2 --out runs/search",
            "runs/search/tune.png",
        )
    ],
    "runs": [Example("moganet runs")],
    "compare": [Example("moganet compare runs/digits moganet_nano.digits --data digits --out compared.html")],
    "predict": [
        Example("moganet predict moganet_nano.cifar10 photos --top-k 2 --grid answers.png", "answers.png"),
        Example("moganet predict runs/digits --data digits --limit 3 --csv answers.csv"),
    ],
    "serve": [Example("moganet serve runs/digits", why_not=SERVES)],
    "info": [Example("moganet info"), Example("moganet info moganet_nano.cifar10")],
    "explain": [
        Example(
            "moganet explain moganet_nano.cifar10 photos/pond/temple.jpg --method gradcam --method occlusion --compare "
            "--out why",
            "why/001-temple-compare.png",
        )
    ],
    "interactions": [
        Example(
            "moganet interactions moganet_nano.digits runs/digits --data digits --images 4 --pairs 8 --contexts 8 "
            "--out curves",
            "curves/interactions.png",
        )
    ],
    "batch": [Example("moganet batch moganet_nano.cifar10 photos --out answers")],
    "embed": [Example("moganet embed moganet_nano.digits digits --split test --out digits.npz")],
    "similar": [
        Example(
            "moganet similar moganet_nano.digits scans/7.png --among digits --split test --out alike.png", "alike.png"
        )
    ],
    "probe": [Example("moganet probe moganet_nano.cifar10 --data digits")],
    "verify": [Example("moganet verify moganet_nano.digits")],
    "convert": [Example("moganet convert runs/digits digits.pth.tar"), Example("moganet info digits.pth.tar")],
    "annotations": [Example("moganet annotations coco:street street-yolo --to yolo")],
    "average": [
        Example(f"{TUNED} --lr 1e-4 --out runs/a"),
        Example(f"{TUNED} --lr 3e-4 --out runs/b"),
        Example("moganet average runs/a runs/b --out average.safetensors"),
    ],
    "push": [Example("moganet push runs/digits me/digits", why_not=UPLOADS)],
    "export": [Example("moganet export runs/digits --to openvino --data digits --out digits.xml")],
    "shards make": [Example("moganet shards make folder:photos photo-shards")],
    "shards index": [Example("moganet shards index downloaded")],
    "doctor": [Example("moganet doctor --data photos --picture look.png", "look.png")],
    "benchmark data": [Example("moganet benchmark data digits")],
    "benchmark infer": [Example("moganet benchmark infer moganet_nano --size 32 --batch-size 32")],
    "benchmark train": [Example("moganet benchmark train moganet_nano --size 32 --batch-size 32")],
}


def outputs() -> dict[str, Shown]:
    """Give what each example printed, by its command; nothing where $NOTEBOOKS is `off`."""
    if os.environ.get("NOTEBOOKS") == "off":
        return {}
    folder = KEPT / of_files(CODE)
    if not (folder / FOUND).exists():
        shutil.rmtree(KEPT, ignore_errors=True)  # what another version of the code printed
        folder.mkdir(parents=True)
        subprocess.run([sys.executable, __file__, str(folder)], check=True)
    found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    return {command: Shown(**one) for command, one in found.items()}


def make(out: Path) -> None:
    """Run all examples in a folder of their own, and keep what they print in `out`."""
    from running import shown_by  # beside this file; it imports the package

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _write_pictures(Path(folder))
        for number, example in enumerate(one for several in EXAMPLES.values() for one in several):
            if example.why_not is None:
                print(example.command, file=sys.stderr, flush=True)
                code, text = shown_by(shlex.split(example.command)[1:])
                if code != 0:
                    raise SystemExit(f"{example.command} ended with {code}:\n{text}")
                found[example.command] = {"text": _short(text, folder), "picture": _kept(example.picture, out, number)}
        os.chdir(ROOT)
    whole = out / FOUND
    whole.with_suffix(".partial").write_text(json.dumps(found, indent=1), encoding="utf-8")
    whole.with_suffix(".partial").replace(whole)


def _short(text: str, folder: str) -> str:
    """Leave out the middle of what is long. A place of this machine has no business on a page."""
    assert folder not in text, text
    lines = text.rstrip().splitlines()
    half = LONGEST // 2
    return "\n".join(lines if len(lines) <= LONGEST else [*lines[:half], "…", *lines[-half:]])


def _kept(picture: str | None, out: Path, number: int) -> str | None:
    if picture is None:
        return None
    kept = out / f"{number:02d}-{Path(picture).name}"
    shutil.copy(picture, kept)
    return str(kept)


def _write_pictures(folder: Path) -> None:
    """Write two photographs cut into classes, some scans of digits, and drawings with boxes."""
    from PIL import Image
    from sklearn.datasets import load_digits, load_sample_image

    for kind, name in (("flower", "flower.jpg"), ("pond", "china.jpg")):
        whole = Image.fromarray(load_sample_image(name))
        (folder / "photos" / kind).mkdir(parents=True)
        for place in range(6):
            box = (place * 80, 60, place * 80 + 240, 300)
            whole.crop(box).save(folder / "photos" / kind / f"{place}.jpg")
    whole.save(folder / "photos" / "pond" / "temple.jpg")
    (folder / "scans").mkdir()
    digits = load_digits()
    for number in range(10):
        image = Image.fromarray((digits.images[number] * 15).astype("uint8")).resize((32, 32))
        image.save(folder / "scans" / f"{digits.target[number]}.png")
    _write_boxes(folder / "street")
    _write_shard(folder)


def _write_boxes(folder: Path) -> None:
    from PIL import Image, ImageDraw

    images, boxes = [], []
    (folder / "train2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(1, 4):
        image = Image.new("RGB", (160, 120), "lightgrey")
        box = [20 * number, 30, 40, 30]
        ImageDraw.Draw(image).rectangle((box[0], box[1], box[0] + box[2], box[1] + box[3]), fill="firebrick")
        image.save(folder / "train2017" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 160, "height": 120})
        boxes.append({"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 1200, "iscrowd": 0})
    whole = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "car"}]}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(whole), encoding="utf-8")


def _write_shard(folder: Path) -> None:
    """Write a shard as webdataset does, each image with its class beside it, and no index."""
    (folder / "downloaded").mkdir()
    with tarfile.open(folder / "downloaded" / "000000.tar", "w") as shard:
        for number, path in enumerate(sorted((folder / "photos").rglob("*.jpg"))):
            shard.add(path, f"{number:06d}.jpg")
            entry = tarfile.TarInfo(f"{number:06d}.cls")
            text = str(int(path.parent.name == "pond")).encode()
            entry.size = len(text)
            shard.addfile(entry, io.BytesIO(text))


if __name__ == "__main__":
    make(Path(sys.argv[1]))

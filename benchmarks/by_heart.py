"""Whether a detector learns eight pictures of COCO by heart, by the recipe `coco-mini`, and in which processor time.

Of a set in COCO's layout eight training pictures without crowds are taken, evenly spread by their number of objects;
both splits of the set that is written are these. Mask R-CNN as the recipe has it, then RetinaNet. The processors' time
is told beside the wall's, since others may use the machine. Writes by_heart.json beside this file.
Usage: python benchmarks/by_heart.py COCO_FOLDER [maskrcnn|retinanet]
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sides import write

import moganet
from moganet.numbers import spread

NUMBER, LEAST = 8, 5  # pictures, and objects in one
RETINA = {"task.head": {"name": "retinanet", "neck": 64, "convs": 2, "scale": 2}}
HEADS: dict[str, dict[str, Any]] = {"maskrcnn": {}, "retinanet": RETINA}


def eight_of(source: Path, out: Path) -> dict[str, int]:
    """Write a set of eight pictures, train and val alike; count its objects and classes."""
    plain = json.loads((source / "annotations" / "instances_train2017.json").read_text())
    things: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in plain["images"]}
    for one in plain["annotations"]:
        things[one["image_id"]].append(one)
    crowded = {image for image, own in things.items() if any(one["iscrowd"] for one in own)}
    fit = [one for one in plain["images"] if len(things[one["id"]]) >= LEAST and one["id"] not in crowded]
    fit.sort(key=lambda image: (len(things[image["id"]]), image["id"]))
    chosen = [fit[place] for place in spread(len(fit), NUMBER)]
    own = [one for image in chosen for one in things[image["id"]]]
    (out / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (out / f"{split}2017").mkdir()
        for image in chosen:
            shutil.copy(source / "train2017" / image["file_name"], out / f"{split}2017")
        text = json.dumps({**plain, "images": chosen, "annotations": own})
        (out / "annotations" / f"instances_{split}2017.json").write_text(text)
    return {"objects": len(own), "classes": len({one["category_id"] for one in own})}


def learned(head: str, data: Path, out: Path) -> dict[str, Any]:
    """Train by the recipe and measure; give AP at IoU 0.5 with the time of processors and wall."""
    start, before = time.perf_counter(), time.process_time()
    moganet.train("coco-mini", data=f"coco:{data}", overrides={**HEADS[head], "report": False}, out=out)
    spent = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - before}
    found: Any = moganet.evaluate(out, data=f"coco:{data}", split="val", runtime="eager")
    masks = {} if found.get("mask") is None else {"mask_ap50": found.mask.ap50}
    return {"box_ap50": found.box.ap50, **masks, **spent}


def main() -> None:
    """Learn by each head, and write what came of it."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        counts = eight_of(Path(sys.argv[1]), Path(folder, "set"))
        for head in sys.argv[2:] or HEADS:
            found[head] = learned(head, Path(folder, "set"), Path(folder, head))
            print(head, found[head], flush=True)
    write(__file__, {**counts, **found})


if __name__ == "__main__":
    main()

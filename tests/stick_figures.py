"""Drawn people in COCO's form: stick figures whose left is green and whose right is orange."""

import json

import numpy as np
from PIL import Image, ImageDraw

from moganet.data.skeletons import COCO

# Shares of a standing figure's height, from the middle between its feet: COCO's key points in order.
STANDING = [
    (0, 0.93), (0.03, 0.95), (-0.03, 0.95), (0.06, 0.93), (-0.06, 0.93), (0.13, 0.8), (-0.13, 0.8), (0.2, 0.64),
    (-0.2, 0.64), (0.22, 0.48), (-0.22, 0.48), (0.09, 0.48), (-0.09, 0.48), (0.1, 0.25), (-0.1, 0.25), (0.1, 0.02),
    (-0.1, 0.02),
]  # fmt: skip
LEFT, RIGHT, MIDDLE = (0, 160, 60), (235, 110, 0), (40, 90, 220)


def figure(random, x, foot, height):
    """Give the key points (17, 3) of a figure whose limbs stand as chance has it."""
    points = np.array(STANDING) * height
    points[[7, 8]] += random.uniform(-0.06, 0.06, (2, 2)) * height
    points[[9, 10]] += random.uniform(-0.14, 0.14, (2, 2)) * height
    points[[13, 14, 15, 16]] += random.uniform(-0.05, 0.05, (4, 2)) * height
    places = np.stack([x + points[:, 0], foot - points[:, 1]], 1)
    return np.concatenate([places, np.full((17, 1), 2.0)], 1)


def draw(image, points):
    """Draw a figure on a PIL image."""
    pen, width = ImageDraw.Draw(image), max(2, int(np.ptp(points[:, 1]) / 30))
    for one, other in COCO.lines:
        colour = MIDDLE if (one + other) % 2 else LEFT if one % 2 else RIGHT
        pen.line([tuple(points[one, :2]), tuple(points[other, :2])], fill=colour, width=width)
    for i, (x, y, _) in enumerate(points):
        side, colour = width, MIDDLE if i == 0 else LEFT if i % 2 else RIGHT
        pen.ellipse([x - side, y - side, x + side, y + side], fill=colour)


def annotation(points, number, image):
    """Give a figure as COCO's files have it."""
    (left, top), (right, bottom) = points[:, :2].min(0) - 6, points[:, :2].max(0) + 6
    box = [float(value) for value in (left, top, right - left, bottom - top)]
    known = {"bbox": box, "area": 0.6 * box[2] * box[3], "iscrowd": 0, "num_keypoints": int((points[:, 2] > 0).sum())}
    return {"id": number, "image_id": image, "category_id": 1, "keypoints": points.ravel().tolist(), **known}


def category(names=COCO.names, lines=COCO.lines):
    return {
        "id": 1,
        "name": "person",
        "keypoints": list(names),
        "skeleton": [[one + 1, other + 1] for one, other in lines],
    }


def make_people(root, images=4, size=(200, 160), seed=0, splits=("train", "val"), same=True):
    """Make a set in COCO's layout, two figures an image; where `same`, all splits are of the same images."""
    (root / "annotations").mkdir(parents=True)
    for split_number, split in enumerate(splits):
        random = np.random.RandomState(seed if same else seed + split_number)
        folder = root / f"{split}2017"
        folder.mkdir()
        entries, annotations = [], []
        for number in range(1, images + 1):
            noise = random.randint(170, 230, (size[1] // 8, size[0] // 8, 3)).astype(np.uint8)
            picture = Image.fromarray(noise).resize(size)
            for place in range(2):
                x = size[0] * (0.27 + 0.46 * place) + random.uniform(-6, 6)
                points = figure(random, x, size[1] * random.uniform(0.9, 0.96), size[1] * random.uniform(0.7, 0.85))
                draw(picture, points)
                annotations.append(annotation(points, len(annotations) + 1, number))
            name = f"{number:012d}.png"
            picture.save(folder / name)
            entries.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        plain = {"images": entries, "annotations": annotations, "categories": [category()]}
        (root / "annotations" / f"person_keypoints_{split}2017.json").write_text(json.dumps(plain))
    return root

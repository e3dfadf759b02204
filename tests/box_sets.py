"""Small sets of boxes in each layout: a red rectangle at (10, 8, 30, 24) in even images, a blue one in odd ones."""

import json

from PIL import Image, ImageDraw

SIZE, BOX, CLASSES = (60, 40), (10, 8, 30, 24), ("blue", "red")
LEFT, TOP, RIGHT, BOTTOM = BOX


def label_of(number):
    return 1 - number % 2


def picture(path, number=0, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (20 * number % 256, 90, 60))
    color = (250, 0, 0) if label_of(number) else (0, 0, 250)
    ImageDraw.Draw(image).rectangle((LEFT, TOP, RIGHT - 1, BOTTOM - 1), fill=color)
    image.save(path)
    return path


def annotation(number, image, category, **more):
    outline = [[LEFT, TOP, RIGHT, TOP, RIGHT, BOTTOM, LEFT, BOTTOM]]
    box = [LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP]
    plain = {"id": number, "image_id": image, "category_id": category, "bbox": box, "segmentation": outline}
    return {**plain, "area": 320, "iscrowd": 0, **more}


def coco_lists(number=6, first=7):
    images = [{"id": first + i, "file_name": f"{i}.png", "width": 60, "height": 40} for i in range(number)]
    annotations = [annotation(i + 1, first + i, (3, 90)[label_of(i)]) for i in range(number)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 90, "name": "red"}, {"id": 3, "name": "blue"}],
    }


def make_coco(root, number=6, splits=("train", "val"), change=lambda lists: None):
    """Make COCO's layout, with sparse ids; change: what is done to each file's lists before they are written."""
    for shift, split in enumerate(splits):
        lists = coco_lists(number)
        for i in range(number):
            picture(root / f"{split}2017" / f"{i}.png", i + 20 * shift)
        change(lists)
        file = root / "annotations" / f"instances_{split}2017.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(lists))
    return root


def yolo_line(number, box=BOX):
    left, top, right, bottom = box
    middle = (left + right) / 2 / 60, (top + bottom) / 2 / 40
    return f"{label_of(number)} {middle[0]:.9g} {middle[1]:.9g} {(right - left) / 60:.9g} {(bottom - top) / 40:.9g}\n"


def make_yolo(root, number=6, splits=("train", "val"), told="path: .\ntrain: images/train\nval: images/val\n"):
    for shift, split in enumerate(splits):
        for i in range(number):
            picture(root / "images" / split / f"{i}.png", i + 20 * shift)
            file = root / "labels" / split / f"{i}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yolo_line(i))
    (root / "data.yaml").write_text(told + "names: [blue, red]\n")
    return root


def xml(name, objects, size=SIZE):
    written = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0] + 1}</xmin>"
        f"<ymin>{box[1] + 1}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for label, box, difficult in objects
    )
    told = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{told}{written}</annotation>"


def make_voc(root, number=6, splits=("train", "val")):
    for shift, split in enumerate(splits):
        names = [f"{split}{i}" for i in range(number)]
        for i, name in enumerate(names):
            picture(root / "JPEGImages" / f"{name}.png", i + 20 * shift)
            file = root / "Annotations" / f"{name}.xml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(xml(f"{name}.png", [(CLASSES[label_of(i)], BOX, 0)]))
        lists = root / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("\n".join(names))
    return root


def make_box_table(root, number=6, header="file,x1,y1,x2,y2,label,split", box=BOX):
    """Make a table of boxes; header: the names of its columns, in that order."""
    rows = []
    for shift, split in enumerate(("train", "val")):
        for i in range(number):
            picture(root / split / f"{i}.png", i + 20 * shift)
            rows.append(f"{split}/{i}.png,{','.join(map(str, box))},{CLASSES[label_of(i)]},{split}")
    (root / "boxes.csv").write_text("\n".join([header, *rows]) + "\n")
    return root / "boxes.csv"


MAKERS = {"coco": make_coco, "yolo": make_yolo, "voc": make_voc}

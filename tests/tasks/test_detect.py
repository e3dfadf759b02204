"""Detection: COCO's figures beside pycocotools', what is right and wrong, thresholds, files of answers, the recipe."""

import contextlib
import io

import numpy as np
import pytest

from moganet.tasks.detect.coco import NAMES, evaluated
from moganet.tasks.detect.counting import (
    CROWD,
    NOTHING,
    best_thresholds,
    confusions,
    counted,
    curve,
    found_by_size,
    overlaps,
    taken_for,
)
from moganet.tasks.detect.listing import listed
from moganet.tasks.detect.scenes import Scene, Things, as_sides, results_of, runs_text, unpacked

CLASSES = ("ant", "bee", "cat", "dog")
SPARSE = (3, 17, 18, 90)


def boxes_in(random, number, size=(240, 320)):
    sides = np.exp(random.uniform(np.log(5), np.log(220), (number, 2)))
    corner = random.uniform(0, 1, (number, 2)) * np.maximum(1, np.array(size[::-1]) - sides)
    return np.concatenate([corner, np.minimum(corner + sides, size[::-1])], 1)


def mask_of(box, size, random):
    mask = np.zeros(size, bool)
    left, top, right, bottom = box.round().astype(int)
    mask[top:bottom, left:right] = random.rand(bottom - top, right - left) < 0.9
    return runs_text(mask)


def made_scenes(number=14, seed=0):
    """Make images with crowds, without objects, without answers, and with answers near objects or anywhere."""
    random, scenes, size = np.random.RandomState(seed), [], (240, 320)
    for place in range(number):
        truth = boxes_in(random, 0 if place == 3 else random.randint(1, 9))
        labels = random.randint(0, 3, len(truth))  # no image shows a dog
        crowd = random.rand(len(truth)) < 0.2
        near = truth + random.normal(0, 2, truth.shape)
        found = np.concatenate([near[random.rand(len(near)) < 0.8], boxes_in(random, random.randint(0, 4))])
        found = np.sort(found.reshape(-1, 2, 2), 1).reshape(-1, 4).clip(0, [320, 240, 320, 240])
        found = found[(found[:, 2:] - found[:, :2]).min(1) > 1] if place != 5 else found[:0]
        given = np.where(random.rand(len(found)) < 0.8, np.resize(labels, len(found)), random.randint(0, 4, len(found)))
        scores = np.sort(random.rand(len(found)).round(2))[::-1]  # some of them are equal
        areas = (truth[:, 2:] - truth[:, :2]).prod(1) * 0.7
        known = Things(truth, labels, tuple(mask_of(b, size, random) for b in truth), areas=areas, crowd=crowd)
        said = Things(found, given, tuple(mask_of(b, size, random) for b in found), scores=scores)
        scenes.append(Scene(1000 - 7 * place, size, known, said))
    return scenes


def coco_plain(scenes):
    annotations = []
    for scene in scenes:
        truth = scene.truth
        for i, box in enumerate(truth.boxes.tolist()):
            segmentation = {"size": list(scene.size), "counts": truth.runs[i]}
            own = {"id": len(annotations) + 1, "image_id": scene.image, "category_id": SPARSE[truth.labels[i]]}
            crowd, area = int(truth.crowd[i]), float(truth.areas[i])
            annotations.append(
                own | {"bbox": as_sides(box), "area": area, "iscrowd": crowd, "segmentation": segmentation}
            )
    images = [{"id": one.image, "height": one.size[0], "width": one.size[1]} for one in scenes]
    categories = [{"id": i, "name": name} for i, name in zip(SPARSE, CLASSES, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories, "info": {}}


def pycocotools_of(plain, results, code, category=None):
    """Give pycocotools' own figures of COCO's form and list of results."""
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = plain
        truth.createIndex()
        one = evaluation.COCOeval(truth, truth.loadRes([dict(result) for result in results]), code)
        if category is not None:
            one.params.catIds = [category]
        one.evaluate()
        one.accumulate()
        one.summarize()
    return one.stats


def test_figures_are_pycocotools_with_crowds_empty_images_sparse_ids_and_in_any_order():
    pytest.importorskip("faster_coco_eval")
    scenes = made_scenes()
    plain = coco_plain(scenes)
    results = [one for scene in scenes for one in results_of(scene.found, scene.image, scene.size, SPARSE)]
    lines = b"".join(scene.packed() for scene in reversed(scenes))
    sets = evaluated(unpacked(lines), CLASSES)
    for kind, code in (("box", "bbox"), ("mask", "segm")):
        expected = pycocotools_of(plain, results, code)
        figures = sets[kind].figures
        assert [-1 if figures[name] is None else figures[name] for name in NAMES] == pytest.approx(expected.tolist(), abs=1e-6)
        assert 0.1 < figures.ap < 0.95
        for i, category in enumerate(SPARSE[:3]):
            own = pycocotools_of(plain, results, code, category)
            assert (sets[kind].ap[i], sets[kind].ap50[i]) == pytest.approx((own[0], own[1]), abs=1e-6)
        assert np.isnan(sets[kind].ap[3])


def test_figures_of_nothing_are_known_to_be_nothing():
    pytest.importorskip("faster_coco_eval")
    none = Things(np.zeros((0, 4)), np.zeros(0, int), scores=np.zeros(0))
    some = Things(np.array([[0, 0, 9, 9.0]]), np.array([1]), areas=np.array([81.0]), crowd=np.array([False]))
    empty = Things(np.zeros((0, 4)), np.zeros(0, int), areas=np.zeros(0), crowd=np.zeros(0, bool))
    assert evaluated([Scene(1, (9, 9), some, none)], CLASSES)["box"].figures.ap == 0
    assert evaluated([Scene(1, (9, 9), empty, none)], CLASSES)["box"].figures.ap is None
    found = Things(some.boxes, some.labels, scores=np.array([0.5]))
    figures = evaluated([Scene(1, (9, 9), some, found)], CLASSES)["box"].figures
    assert figures.ap == pytest.approx(1) and figures.ap_large is None and "AP 100" in figures.line()


def scene_of(truth, found, crowd=(), size=(100, 100)):
    """Make a scene of (label, box) and (label, box, score)."""
    boxes = np.array([box for _, box in truth], float).reshape(-1, 4)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    crowds = np.isin(np.arange(len(truth)), crowd)
    known = Things(boxes, np.array([label for label, _ in truth], int), areas=areas, crowd=crowds)
    given = np.array([one[1] for one in found], float).reshape(-1, 4)
    labels, scores = (np.array([one[part] for one in found], kind) for part, kind in ((0, int), (2, float)))
    return Scene(1, size, known, Things(given, labels, scores=scores))


def test_each_object_is_found_once_a_crowd_forgives_and_confusions_are_named():
    truth = [(0, (0, 0, 10, 10)), (1, (20, 0, 40, 20)), (2, (50, 50, 90, 90)), (0, (0, 40, 40, 80))]
    found = [(0, (0, 0, 10, 10), 0.9), (0, (0, 1, 10, 10), 0.8), (2, (21, 0, 40, 20), 0.7), (0, (5, 45, 15, 55), 0.6)]
    one = counted(scene_of(truth, found, crowd=[3]))
    assert one.object_of.tolist() == [0, NOTHING, NOTHING, CROWD] and one.answer_of.tolist() == [
        0,
        NOTHING,
        NOTHING,
        NOTHING,
    ]
    cuts = np.full(3, 0.5)
    assert one.said(cuts).tolist() == [True, True, True, False] and one.seen(cuts).tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert taken_for(one, cuts) == [(1, 2)] and confusions([one], cuts) == {(1, 2): 1}
    assert taken_for(one, np.full(3, 0.75)) == []  # the answer is not sure enough
    rows = list(listed("a.jpg", one, cuts, CLASSES))
    assert [(row[1], row[2], row[-1]) for row in rows] == [
        ("TP", "ant", ""),
        ("FP", "ant", ""),
        ("FP", "cat", "bee"),
        ("FN", "bee", "cat"),
        ("FN", "cat", ""),
    ]
    assert found_by_size([one], cuts) == {"small": (2, 1), "medium": (1, 0), "large": (0, 0)}
    boxes = np.array([[0, 0, 10, 10.0], [0, 0, 10, 20]])
    assert overlaps(boxes[:1], boxes, np.array([False, True])).tolist() == [[1.0, 1.0]]


def test_thresholds_are_those_of_the_best_f1_of_all_cuts():
    random = np.random.RandomState(2)
    scores, right = random.rand(200).round(2), random.rand(200) < 0.4
    scores = np.where(right, scores, scores * 0.7)
    own = curve(scores, right, 100)

    def f1(cut):
        said = scores >= cut
        return 2 * (said & right).sum() / (said.sum() + 100)

    best = max(f1(cut) for cut in np.unique(scores))
    assert f1(own.best()) == pytest.approx(best) and own.precision[-1] == pytest.approx(right.mean())
    assert curve(scores[:0], right[:0], 5).best() is None and curve(scores, right & False, 5).best() is None
    scenes = [counted(scene) for scene in made_scenes()]
    thresholds = best_thresholds(scenes, len(CLASSES))
    assert len(thresholds) == 4 and all(0 < one < 1 for one in thresholds)
    assert best_thresholds([], 2) == (0.5, 0.5)

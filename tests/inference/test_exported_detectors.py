"""Exported detectors find what their model finds, in images of any size, and know where an image ends."""

import pytest
import torch
from dense_files import filled, scene

import moganet
from moganet.config import Architecture
from moganet.models.build import build_blank

HEADS = {
    "retinanet": {"name": "retinanet", "neck": 8, "convs": 1},
    "maskrcnn": {"name": "maskrcnn", "neck": 8, "hidden": 16, "proposals": 50},
}


@pytest.mark.slow  # a graph takes ten seconds
@pytest.mark.parametrize(("head", "to"), [("maskrcnn", "openvino"), ("retinanet", "onnx")])
def test_an_exported_detector_finds_the_same(head, to, tmp_path):
    pytest.importorskip("onnxscript")
    architecture = Architecture(name="moganet_nano", head={"score": 0.001, **HEADS[head]}, num_classes=4)
    blank = build_blank(architecture).state_dict()
    path = tmp_path / "x.pth"
    config = "model = dict(test_cfg=dict(score_thr=0.001, rcnn=dict(score_thr=0.001), rpn=dict(max_per_img=50)))\n"
    config += "test_pipeline = [dict(type='Resize', img_scale=(1333, 800), keep_ratio=True)]\n"
    state = filled({name: torch.empty(t.shape) for name, t in blank.items()})
    torch.save({"meta": {"config": config}, "state_dict": state}, path)
    made = moganet.export(path, to, out=tmp_path / f"x{'.xml' if to == 'openvino' else '.onnx'}")
    assert made.deviation < made.tolerance
    plain, exported = moganet.load(path, runtime="eager"), moganet.load(made.out)
    for padded, size in (((128, 160), (100, 150)), ((64, 96), (64, 96))):
        x = torch.zeros(1, 3, *padded)
        x[:, :, : size[0], : size[1]] = scene(*size, 0)
        [given], [wanted] = exported.outputs(x, sizes=[size]), plain.outputs(x, sizes=[size])
        assert len(wanted["labels"]) and (given["labels"] == wanted["labels"]).all()
        assert abs(given["boxes"] - wanted["boxes"]).max() < 1e-2
        assert abs(given["scores"] - wanted["scores"]).max() < 1e-4
        assert given.keys() == wanted.keys()

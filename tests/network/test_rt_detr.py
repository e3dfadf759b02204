"""Transformers' RT-DETR stands on a MogaNet as docs/detection.md says, and all of it learns."""

import pytest
import timm
import torch

import moganet  # noqa: F401 (which tells timm of the networks)


def test_rt_detr_learns_over_a_moganet():
    transformers = pytest.importorskip("transformers")
    maps = timm.create_model("moganet_nano", features_only=True, out_indices=(1, 2, 3)).feature_info.channels()
    backbone = transformers.TimmBackboneConfig(
        backbone="moganet_nano", out_indices=[1, 2, 3], use_pretrained_backbone=False
    )
    small = dict.fromkeys(("encoder_hidden_dim", "d_model", "encoder_ffn_dim", "decoder_ffn_dim"), 16)
    small |= dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 2)
    small |= {"decoder_layers": 1, "num_queries": 5, "num_denoising": 0, "decoder_in_channels": [16, 16, 16]}
    config = transformers.RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=maps, num_labels=3, freeze_backbone_batch_norms=False, **small
    )
    detector = transformers.RTDetrForObjectDetection(config)
    labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}]
    given = detector(pixel_values=torch.randn(1, 3, 64, 64), labels=labels)
    given.loss.backward()
    assert given.pred_boxes.shape == (1, 5, 4) and given.loss.isfinite()
    learned = [parameter.grad is not None for parameter in detector.model.backbone.parameters()]
    assert sum(learned) > 0.9 * len(learned)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in detector.model.backbone.modules())

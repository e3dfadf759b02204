"""What a description alone says of a network's cost is what is measured of the network."""

import pytest

from moganet.config import Architecture
from moganet.models.build import build_blank
from moganet.network.cost import count_parameters, measure
from moganet.network.outline import outline

NAMED = [Architecture(name=name) for name in ("moganet_nano", "moganet_xtiny", "moganet_small")]
OTHERS = [
    Architecture(name="nano", num_classes=0, in_chans=1, gate="double"),
    Architecture(name="moganet_nano", channel_aggregation="paddle", stem_stride=1, num_classes=7),
    Architecture(name="moganet_nano", stem_stride=2, drop_path_rate=0.2, drop_rate=0.1, dilate_last_stage=False),
    Architecture(embed_dims=(18, 30, 42, 66), depths=(1, 2, 1, 1), mlp_ratios=(3, 2.5, 1.7, 4), in_chans=5),
    Architecture(embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), channel_split=(1, 1, 2), dilations=(2, 1, 3)),
]


@pytest.mark.parametrize("architecture", [*NAMED, *OTHERS], ids=range(8))
def test_an_outline_is_what_is_measured(architecture):
    network, size = build_blank(architecture), (41, 224)
    parameters, (layers, stages) = count_parameters(network), measure(network, architecture.in_chans or 3, size)
    found = outline(architecture, size)
    assert found.layers == layers and found.stages == stages and found.parameters == parameters


@pytest.mark.parametrize(
    "what", [{"channel_split": (1, 1, 99)}, {"embed_dims": (2, 4, 4, 4)}, {"dilations": (0, 1, 1)}, {"name": "x"}]
)
def test_what_no_network_can_be_is_no_outline(what):
    with pytest.raises(ValueError, match=r"empty|above 0|no variant"):
        outline(Architecture(**what), (32, 32))

"""MogaNet as the PaddlePaddle port computes it, written from the paper, to be timed by against_paddle.py.

Run by an interpreter that has paddlepaddle, and nothing of ours: reads a line, does one round, prints its seconds.
Usage: python port_in_paddle.py infer|train SIZE BATCH
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

DIMS, DEPTHS, RATIOS = (32, 64, 96, 192), (3, 3, 10, 2), (8, 8, 4, 4)  # moganet_xtiny


def per_channel(channels: int) -> Any:
    """Make a learned value for each channel, (1, C, 1, 1)."""
    initial = nn.initializer.Constant(1e-5)
    return paddle.create_parameter([1, channels, 1, 1], "float32", default_initializer=initial)


def depthwise(channels: int, kernel: int, dilation: int = 1) -> nn.Layer:
    """Make a depth-wise convolution that keeps height and width."""
    padding = dilation * (kernel // 2)
    return nn.Conv2D(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels)


class SpatialMixer(nn.Layer):
    """Multi-order gated aggregation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj_1, self.gate, self.proj_2 = (nn.Conv2D(dim, dim, 1) for _ in range(3))
        self.middle, self.high = dim * 3 // 8, dim // 2
        self.low = dim - self.middle - self.high
        self.order_1 = depthwise(dim, 5)
        self.order_2, self.order_3 = depthwise(self.middle, 5, 2), depthwise(self.high, 7, 3)
        self.value, self.sigma = nn.Conv2D(dim, dim, 1), per_channel(dim)

    def forward(self, x: Any) -> Any:
        y = self.proj_1(x)
        y = F.silu(y + self.sigma * (y - F.adaptive_avg_pool2d(y, 1)))
        low, middle, high = paddle.split(self.order_1(y), [self.low, self.middle, self.high], axis=1)
        value = self.value(paddle.concat([low, self.order_2(middle), self.order_3(high)], axis=1))
        return self.proj_2(F.silu(self.gate(y)) * F.silu(value)) + x


class ChannelMixer(nn.Layer):
    """Channel aggregation; the port computes `decompose` and discards it."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.dwconv, self.fc2 = nn.Conv2D(dim, hidden, 1), depthwise(hidden, 3), nn.Conv2D(hidden, dim, 1)
        self.decompose, self.sigma = nn.Conv2D(hidden, 1, 1), per_channel(hidden)

    def forward(self, x: Any) -> Any:
        y = F.gelu(self.dwconv(self.fc1(x)))
        self.decompose(y)
        return self.fc2(y + self.sigma * (y - F.gelu(y)))


class Block(nn.Layer):
    """Spatial and channel mixer, each with norm and layer scale."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.scale_1 = nn.BatchNorm2D(dim), SpatialMixer(dim), per_channel(dim)
        self.norm2, self.mlp, self.scale_2 = nn.BatchNorm2D(dim), ChannelMixer(dim, dim * ratio), per_channel(dim)

    def forward(self, x: Any) -> Any:
        x = x + self.scale_1 * self.attn(self.norm1(x))
        return x + self.scale_2 * self.mlp(self.norm2(x))


class MogaNet(nn.Layer):
    """moganet_xtiny with 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[Any] = []
        previous = 3
        for stage, (dim, depth, ratio) in enumerate(zip(DIMS, DEPTHS, RATIOS, strict=True)):
            if stage == 0:
                layers += [nn.Conv2D(3, dim // 2, 3, 2, 1), nn.BatchNorm2D(dim // 2), nn.GELU()]
                previous = dim // 2
            layers += [nn.Conv2D(previous, dim, 3, 2, 1), nn.BatchNorm2D(dim)]
            layers += [*(Block(dim, ratio) for _ in range(depth)), nn.BatchNorm2D(dim)]
            previous = dim
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(previous, 1000)

    def forward(self, x: Any) -> Any:
        return self.head(self.layers(x).mean([2, 3]))


def make_round(what: str, size: int, batch: int) -> Callable[[], None]:
    """Make a function that predicts a batch, or takes one AdamW step on it."""
    paddle.seed(0)
    network = MogaNet()
    assert sum(p.size for p in network.parameters() if p.trainable) == 2_956_066
    images, labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, 1000, [batch])
    if what == "infer":
        network.eval()

        def predict() -> None:
            with paddle.no_grad():
                network(images).numpy()

        return predict
    optimizer = paddle.optimizer.AdamW(1e-3, parameters=network.parameters(), weight_decay=0.05)

    def step() -> None:
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()

    return step


def main() -> None:
    """Answer each line with the seconds of one round."""
    work = make_round(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    for _ in sys.stdin:
        start = time.perf_counter()
        work()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()

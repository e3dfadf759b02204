"""Reading and converting take at most 2.5 times the weights (xlarge, each way: benchmarks/weights_memory.py)."""

import sys
from pathlib import Path

import pytest
import torch
from own_process import OwnProcess

import moganet


def resident(key):
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) << 10 for row in rows if row.startswith(key))


def read(source, out):
    """Say what was read or converted, and how far the resident memory rose for it."""
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    found = moganet.convert(source, out)["fixtures"] if out else moganet.load(source).model.num_classes
    print(found, resident("VmHWM") - before, file=sys.stderr)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure")
def test_a_large_network_is_read_and_converted_within_two_and_a_half_times_its_weights(tmp_path):
    with torch.device("meta"):
        shapes = moganet.build_network("s").state_dict()
    state = {name: torch.full(tensor.shape, 0.01, dtype=tensor.dtype) for name, tensor in shapes.items()}
    weights = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    torch.save({"arch": "moganet_small", "state_dict": state, "state_dict_ema": state}, tmp_path / "x.pth.tar")
    del state
    for out, printed in ((None, "1000"), (tmp_path / "x.safetensors", "4")):
        result = OwnProcess(read, tmp_path / "x.pth.tar", out).communicate(timeout=120)[1].splitlines()[-1].split()
        assert result[0] == printed and int(result[1]) < 2.5 * weights

"""Reading and converting take at most 2.5 times the weights (xlarge, each way: benchmarks/weights_memory.py)."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import moganet

SCRIPT = """
import sys, moganet, moganet.engine.convert
def resident(key):
    return next(int(row.split()[1]) << 10 for row in open("/proc/self/status") if row.startswith(key))
before = resident("VmRSS")
source, out = sys.argv[1:]
print(moganet.convert(source, out)["fixtures"] if out else moganet.load(source).model.num_classes)
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure")
def test_a_large_network_is_read_and_converted_within_two_and_a_half_times_its_weights(tmp_path):
    with torch.device("meta"):
        shapes = moganet.build_network("b").state_dict()
    state = {name: torch.full(tensor.shape, 0.01, dtype=tensor.dtype) for name, tensor in shapes.items()}
    weights = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    torch.save({"arch": "moganet_base", "state_dict": state, "state_dict_ema": state}, tmp_path / "x.pth.tar")
    del state
    for out, printed in (("", "1000"), (tmp_path / "x.safetensors", "4")):
        run = [sys.executable, "-c", SCRIPT, str(tmp_path / "x.pth.tar"), str(out)]
        result = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        assert result[0] == printed and int(result[1]) < 2.5 * weights

"""Peak memory of reading and converting moganet_xlarge, as multiples of its weights (724 MB).

The weights are drawn from the tensors' names, as the golden files' were. Each verb runs in a fresh process; what
importing the package takes is measured in one more process and subtracted. Pages of a file that is mapped count.
Writes weights_memory.json beside this file. Linux only. Usage: python benchmarks/weights_memory.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
VERBS = {
    "import": "",
    "info": "moganet.info(source)",
    "load": "moganet.load(source)",
    "convert to model file": "moganet.convert(source, out + '.safetensors')",
    "convert to hub folder": "moganet.convert(source, out)",
    "convert to official": "moganet.convert(source, out + '.pth.tar')",
    "convert to paddle": "moganet.convert(source, out + '.pdparams')",
    "load model file": "moganet.load(out + '.safetensors')",
    "verify model file": "moganet.verify(out + '.safetensors')",
    "load paddle": "moganet.load(out + '.pdparams')",
    "convert paddle to model file": "moganet.convert(out + '.pdparams', out + '2.safetensors')",
}
SCRIPT = """
import sys, moganet, moganet.engine.convert, moganet.engine.info, moganet.engine.verify
source, out = sys.argv[1:]
{line}
with open("/proc/self/status") as status:
    print(next(int(row.split()[1]) << 10 for row in status if row.startswith("VmHWM")))
"""


def main() -> None:
    from conftest import fill

    import moganet
    from moganet.engine.doctor import environment

    with torch.device("meta"):
        shapes = moganet.build_network("xl").state_dict()
    state = fill(shapes)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "xlarge.pth.tar"
        torch.save({"arch": "moganet_xlarge", "state_dict": state}, source)
        del state
        peaks = {verb: peak(line, source) for verb, line in VERBS.items()}
    base = peaks.pop("import")
    result = {
        "environment": environment().plain(),
        "weights_bytes": weights,
        "import_bytes": base,
        "multiples": {verb: round((peak - base) / weights, 2) for verb, peak in peaks.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def peak(line: str, source: Path) -> int:
    """Give the largest resident size of a fresh process that runs a line, in bytes."""
    run = [sys.executable, "-c", SCRIPT.format(line=line), str(source), str(source.parent / "out")]
    return int(subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


if __name__ == "__main__":
    main()

"""Time moganet_xtiny against the PaddlePaddle port's network, in turns: inference and whole training steps.

Each side lives in a process of its own, and they take turns. paddlepaddle need not be installed beside torch: name an
interpreter that has it. Without one the script says so and measures nothing. Writes against_paddle.json.
Usage: python benchmarks/against_paddle.py [--paddle-python PATH] [infer] [train]
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
from sides import ROUNDS, set_memory, update

from moganet.machine import has_fast_bf16

FOLDER = Path(__file__).parent
SIZE, BATCHES = 224, {"infer": 32, "train": 16}


def serve(what: str, size: int, batch: int) -> None:
    """Be our side: answer each line with the seconds of one round."""
    from inference import predictor
    from training import make_step

    from moganet import build_network

    torch.manual_seed(0)
    if what.startswith("train"):
        half = what.endswith("bf16")
        work = make_step(build_network("moganet_xtiny"), size, batch, torch.channels_last, fused=True, half=half)
        set_memory(keep=True)
    else:
        model, x = predictor("xtiny", "auto"), torch.randn(batch, 3, size, size)

        def work() -> None:
            model.logits(x)

    for _ in sys.stdin:
        start = time.perf_counter()
        work()
        print(time.perf_counter() - start, flush=True)


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start a side."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def ask(side: subprocess.Popen[str]) -> float:
    """Let a side do one round; give its seconds."""
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write("\n")
    side.stdin.flush()
    answer = side.stdout.readline()
    if not answer:
        raise SystemExit("a side ended before its turn")
    time.sleep(0.3)  # its threads stop spinning
    return float(answer)


def measure(what: str, paddle: str) -> dict[str, object]:
    """Compare the sides in one kind of work."""
    arguments = [what, str(SIZE), str(BATCHES[what])]
    sides = {
        "PaddlePaddle port": start([paddle, str(FOLDER / "port_in_paddle.py"), *arguments]),
        "ours": start([sys.executable, __file__, "--serve", *arguments]),
    }
    if what == "train" and has_fast_bf16("cpu"):
        sides["ours, bf16"] = start([sys.executable, __file__, "--serve", f"{what}-bf16", *arguments[1:]])
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name, side in sides.items():
            seconds = ask(side)
            if turn:
                times[name].append(seconds)
    for side in sides.values():
        side.terminate()
    rates = {name: BATCHES[what] / median(taken) for name, taken in times.items()}
    return {
        "batch_size": BATCHES[what],
        "images_per_second": rates,
        "ratio": rates["ours"] / rates["PaddlePaddle port"],
        "ratios": {name: rate / rates["PaddlePaddle port"] for name, rate in rates.items() if name in list(sides)[1:]},
    }


def main() -> None:
    """Measure what is asked for, one part of the JSON each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["infer", "train"])
    parser.add_argument("--paddle-python", default=sys.executable)
    parser.add_argument("--serve", nargs=3)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve[0], int(arguments.serve[1]), int(arguments.serve[2]))
        return
    if arguments.paddle_python == sys.executable and importlib.util.find_spec("paddle") is None:
        print("skipped: paddlepaddle is not installed here; name an interpreter that has it with --paddle-python PATH")
        return
    for what in arguments.what:
        update(__file__, f"{what}, moganet_xtiny, {SIZE} px, f32", measure(what, arguments.paddle_python))


if __name__ == "__main__":
    main()

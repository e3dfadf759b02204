"""Kill, stop and starve runs, let them go on, and compare their weights with those of a run that was never disturbed.

python benchmarks/interruptions.py [--kills 10] [--folder-kills 5]
Writes interruptions.json beside this file: the hash of each run's weights, and what each fault printed.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moganet.engine.doctor import environment

SMALL = [
    *("--set", "network.embed_dims=[8,8,16,16]", "--set", "network.depths=[1,1,1,1]"),
    *("--set", "network.mlp_ratios=[2,2,2,2]", "--set", "network.drop_path_rate=0.2", "--set", "data.batch_size=32"),
    *("--set", "trainer.ema=0.9", "--set", "augment.mixup=0.5", "--set", "trainer.save_every=0.01"),
]
EPOCHS = ["--set", "trainer.max_epochs=5"]


def command(recipe: str, *options: str) -> list[str]:
    """Give the command line of a run."""
    return [sys.executable, "-m", "moganet", "train", recipe, *SMALL, *options]


def digest(out: Path) -> str:
    """Give the hash of a run's last weights."""
    return hashlib.sha256((out / "last.safetensors").read_bytes()).hexdigest()


def killed_and_resumed(line: list[str], out: Path, after: float, number: signal.Signals) -> str:
    """Kill a run some seconds after its first checkpoint, let it go on to the end, and give its weights' hash."""
    shutil.rmtree(out, ignore_errors=True)
    process = subprocess.Popen([*line, "--out", str(out)], stderr=subprocess.DEVNULL, start_new_session=True)
    while not (out / "last.ckpt").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(number)
    process.wait()
    subprocess.run([*line, "--out", str(out), "--resume"], stderr=subprocess.DEVNULL, check=True)
    return digest(out)


def kills(line: list[str], folder: Path, number: int) -> dict[str, Any]:
    """Run once undisturbed, then kill runs at random moments; SIGKILL mostly, SIGTERM and Ctrl-C in between."""
    out = folder / "undisturbed"
    process = subprocess.Popen([*line, "--out", str(out)], stderr=subprocess.DEVNULL)
    while not (out / "last.ckpt").exists():
        time.sleep(0.01)
    start = time.perf_counter()
    process.wait()
    seconds = time.perf_counter() - start
    reference, draw, runs = digest(out), random.Random(0), []
    for index in range(number):
        kind = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)[index % 5]
        after = draw.uniform(0, seconds)
        sha256 = killed_and_resumed(line, folder / "killed", after, kind)
        runs.append({"signal": kind.name, "seconds": after, "sha256": sha256, "equal": sha256 == reference})
        print(runs[-1], file=sys.stderr)
    return {"undisturbed": reference, "seconds": seconds, "runs": runs}


def make_photographs(root: Path) -> Path:
    """Write a folder of two classes of small photographs of noise, in two colours."""
    draw = np.random.default_rng(0)
    for split, number in (("train", 160), ("val", 24)):
        for name, channel in (("red", 0), ("blue", 2)):
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = draw.integers(0, 120, (40, 48, 3), dtype=np.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels).save(root / split / name / f"{index}.jpg")
    return root


def said(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for a run's end and give its last line."""
    _, text = process.communicate()
    lines = [line for line in text.splitlines() if line.startswith(("moganet:", "left out", "out of memory"))]
    return {"said": lines, "exit_code": process.returncode, "traceback": "Traceback" in text}


def started(line: list[str], out: Path, **options: Any) -> "subprocess.Popen[str]":
    """Start a run and wait for its first checkpoint."""
    process = subprocess.Popen([*line, "--out", str(out)], stderr=subprocess.PIPE, text=True, **options)
    while not (out / "last.ckpt").exists() and process.poll() is None:
        time.sleep(0.01)
    return process


def resumes(line: list[str], out: Path) -> bool:
    """Let a run go on and tell whether it came to its end."""
    done = subprocess.run([*line, "--out", str(out), "--resume"], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0 and (out / "result.json").exists()


def file_too_large(folder: Path, photographs: Path) -> dict[str, Any]:
    import resource

    line, out = command("digits", *EPOCHS), folder / "limit"
    limit = 1024 * 450  # more than the first checkpoint, less than the next
    process = started(line, out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    return {**said(process), "resumed": resumes(line, out)}


def full_disk(folder: Path, photographs: Path) -> dict[str, Any]:
    if os.getuid() != 0:
        return {"left_out": "a small file system can be mounted by root only"}
    place = folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "none", str(place)], check=True)
    try:
        line, out = command("digits", *EPOCHS), place / "run"
        told = said(started(line, out))
        subprocess.run(["mount", "-o", "remount,size=20m", str(place)], check=True)
        return {**told, "resumed": resumes(line, out)}
    finally:
        subprocess.run(["umount", str(place)], check=True)


def read_only(folder: Path, photographs: Path) -> dict[str, Any]:
    if os.getuid() != 0:
        return {"left_out": "a file system can be mounted again by root only"}
    place = folder / "sealed"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(place)], check=True)
    try:
        line, out = command("digits", *EPOCHS), place / "run"
        process = started(line, out)
        while subprocess.run(
            ["mount", "-o", "remount,ro", str(place)], stderr=subprocess.DEVNULL, check=False
        ).returncode:
            time.sleep(0.005)  # a file is open for writing at the moment
        told = said(process)
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        return {**told, "resumed": resumes(line, out)}
    finally:
        subprocess.run(["umount", str(place)], check=True)


def dead_worker(folder: Path, photographs: Path) -> dict[str, Any]:
    line, out = photo_command(photographs), folder / "worker"
    process = started(line, out)
    time.sleep(1)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(workers.stdout.split()[0]), signal.SIGKILL)
    return {**said(process), "resumed": resumes(line, out)}


def deleted_image(folder: Path, photographs: Path) -> dict[str, Any]:
    images = Path(shutil.copytree(photographs, folder / "losing"))
    line, out = photo_command(images), folder / "deleted"
    process = started(line, out)
    (images / "train" / "red" / "7.jpg").unlink()
    told = said(process)
    missing = subprocess.run([*line, "--out", str(out), "--resume"], capture_output=True, text=True, check=False)
    return {**told, "resumed_without_it": missing.stderr.strip().splitlines()[-1:]}


def second_ctrl_c(folder: Path, photographs: Path) -> dict[str, Any]:
    line, out = command("digits", *EPOCHS), folder / "twice"
    process = started(line, out)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    return {**said(process), "resumed": resumes(line, out)}


def one_of_two_processes_killed(folder: Path, photographs: Path) -> dict[str, Any]:
    line, out = command("digits", *EPOCHS), folder / "ranks"
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *line[1:]]
    process = started(two, out)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    for child in map(int, children.stdout.split()):
        if "RANK=1" in Path(f"/proc/{child}/environ").read_text(encoding="utf-8").split("\0"):
            os.kill(child, signal.SIGKILL)
    told = said(process)
    # torchrun's own traceback names the process that died; ours has none.
    return {**told, "resumed": resumes([*line, "--set", "data.batch_size=64"], out)}


FAULTS = (
    *(file_too_large, full_disk, read_only, dead_worker, deleted_image, second_ctrl_c),
    one_of_two_processes_killed,
)


def photo_command(photographs: Path) -> list[str]:
    """Give the command line of a run on a folder with two workers."""
    size = ["--set", "preprocessing={size: 32}", "--set", "augment={crop: resized, hflip: 0.5}"]
    return command(
        "digits", *size, "--set", "data.validation=val", "--set", "data.workers=2", *EPOCHS, "--data", str(photographs)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder-kills", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = make_photographs(folder / "photographs")
        faults = {fault.__name__: fault(folder, photographs) for fault in FAULTS}
        result = {
            "faults": faults,
            "digits": kills(command("digits", *EPOCHS), folder / "digits", options.kills),
            "folder_with_2_workers": kills(photo_command(photographs), folder / "photos", options.folder_kills),
            "environment": environment().plain(),
        }
    text = json.dumps(result, indent=1).replace(name, "DIR")
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

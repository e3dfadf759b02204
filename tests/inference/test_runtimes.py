"""Runtimes by name: what "auto" means, the same answers from each, the cache, and what can't be."""

import faulthandler
import gc
import importlib.util
import logging
import shutil
import signal
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from conftest import GOLDEN, golden
from own_process import OwnProcess
from small_model import SIZE, exported

import moganet
from moganet.errors import ConfigError
from moganet.inference.cached import MAX_SIZES
from moganet.inference.runs.openvino import at_once
from moganet.inference.runtimes import open_predictor
from moganet.machine import has_fast_bf16, num_cores

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Give a cache in which a runtime was made ready once, for the golden network."""
    places = {}

    def of(runtime):
        if runtime not in places:
            places[runtime] = tmp_path_factory.mktemp(f"made-{runtime}")
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MOGANET_CACHE", str(places[runtime]))
                load(runtime)
        return places[runtime]

    return of


def load(runtime, file="mini_official.pth.tar", **options):
    if runtime in PACKAGES and importlib.util.find_spec(PACKAGES[runtime]) is None:
        pytest.skip(f"{PACKAGES[runtime]} is not installed (extra 'export')")
    return moganet.load(GOLDEN / file, runtime, **options)


@pytest.mark.parametrize("runtime", ["eager", "onnx", "openvino"])
def test_every_runtime_gives_the_golden_logits_for_every_size_and_batch(runtime, cache, made):
    shutil.copytree(made(runtime), cache)
    predictor, expected = load(runtime), golden("mini_single_gate_expected")
    assert predictor.runtime == runtime and isinstance(predictor.model, moganet.MogaNet)
    assert (predictor.logits(expected["input"]) - expected["logits"]).abs().max() < 1e-5
    plain = predictor.model.to(memory_format=torch.contiguous_format)
    sizes = ((1, 64, 64), (7, 64, 64), (3, 33, 65), (2, 224, 224), (1, 40, 32), (5, 41, 32))
    for batch, height, width in sizes[:2] if runtime == "onnx" else sizes:  # a second a size is enough
        x = torch.randn(batch, 3, height, width)
        with torch.inference_mode():
            assert (predictor.logits(x) - plain(x)).abs().max() < 1e-4, (batch, height, width)
    if runtime == "openvino":
        assert len(predictor.run.runs) == MAX_SIZES  # further sizes went through the fused network


@pytest.mark.parametrize("threads", [1, 8])
def test_openvino_gives_each_image_its_own_row_whatever_a_request_is_filled_up_with(threads, cache):
    predictor, before = load("openvino"), torch.get_num_threads()
    x = torch.randn(35, 3, 32, 64)
    plain = load("eager").logits(x)
    torch.set_num_threads(threads)
    try:
        for number in (3, 1, 4, 5, 16, 17, 35):  # a request has 16 at once; with eight threads, up to four go alone
            logits = predictor.logits(x[:number])
            assert logits.shape == (number, 10) and (logits - plain[:number]).abs().max() < 1e-4, number
    finally:
        torch.set_num_threads(before)


def test_an_openvino_model_that_nobody_has_is_given_free_however_many_images_it_saw():
    """A model that stays leaves threads of OpenVINO's to the end of the process, which they may abort."""
    predictor = moganet.load(exported("openvino"))
    run = predictor.run.run
    for number in (1, 40):
        run(np.zeros((number, 3, *SIZE), np.float32))
    kept = [weakref.ref(one) for one in (predictor, run)]
    del predictor, run
    gc.collect()
    assert [one() for one in kept] == [None, None]


@pytest.mark.parametrize(("size", "number"), [((224, 224), 1), ((160, 160), 2), ((64, 64), 16), ((32, 32), 16)])
def test_a_request_has_as_many_images_as_stay_in_the_caches(size, number):
    assert at_once(*size) == number


@pytest.mark.parametrize("file", ["mini_openmixup.pth", "mini_paddle.pdparams"])
def test_openvino_computes_each_function(file, cache):
    expected = golden({"mini_openmixup.pth": "mini_double_gate_expected"}.get(file, "mini_paddle_expected"))
    assert (load("openvino", file).logits(expected["input"]) - expected["logits"]).abs().max() < 1e-5


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_what_was_made_ready_is_found_again_and_damage_is_mended(runtime, cache, made, monkeypatch):
    shutil.copytree(made(runtime), cache)
    (graph,) = (path for path in (cache / "runtimes").rglob(f"{runtime}.*") if path.suffix in (".onnx", ".xml"))
    first, whole = load(runtime), graph.read_bytes()
    module = importlib.import_module(f"moganet.inference.export.{runtime}")
    save, calls = module.save, []

    def save_again(graph, path):
        calls.append(path)
        if runtime == "onnx":  # three seconds for the same again
            path.write_bytes(whole)
        else:
            save(graph, path)

    monkeypatch.setattr(module, "save", save_again)
    x = torch.randn(2, 3, 224, 224)
    assert torch.allclose(load(runtime).logits(x), first.logits(x), atol=1e-6) and not calls
    graph.write_bytes(b"damaged")
    assert torch.allclose(load(runtime).logits(x), first.logits(x), atol=1e-6) and len(calls) == 1


def test_other_weights_have_a_place_of_their_own_in_the_cache(cache):
    predictor = load("openvino")
    with torch.no_grad():
        predictor.model.head.bias += 1
    other = open_predictor(predictor.model, predictor.config, "openvino")
    x = torch.randn(1, 3, 224, 224)
    assert torch.allclose(other.logits(x), predictor.logits(x) + 1, atol=1e-5)


def test_a_cache_that_can_not_be_written_stops_nothing(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "file"))
    assert load("openvino").logits(torch.zeros(1, 3, 224, 224)).isfinite().all()
    assert "each time" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto means eager on a GPU")
def test_auto_is_openvino_where_it_is_installed_and_starts_at_the_first_prediction(cache, monkeypatch):
    monkeypatch.delenv("MOGANET_RUNTIME")
    predictor = load("auto")
    installed = importlib.util.find_spec("openvino") is not None
    assert predictor.runtime == ("openvino" if installed else "eager") and not cache.exists()
    expected = golden("mini_single_gate_expected")
    assert (predictor.logits(expected["input"]) - expected["logits"]).abs().max() < 1e-5
    monkeypatch.setenv("MOGANET_RUNTIME", "eager")
    assert load("auto").runtime == "eager"
    monkeypatch.setenv("MOGANET_RUNTIME", "tpu")
    with pytest.raises(ConfigError, match="auto, eager, compile, onnx, openvino"):
        load("auto")


def test_auto_falls_back_where_openvino_can_not_run(cache, monkeypatch, caplog):
    monkeypatch.delenv("MOGANET_RUNTIME")
    predictor = load("auto")
    if predictor.runtime != "openvino":
        pytest.skip("openvino is not installed (extra 'export')")

    def fail(graph, path):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr("moganet.inference.export.openvino.save", fail)
    expected = golden("mini_single_gate_expected")
    assert (predictor.logits(expected["input"]) - expected["logits"]).abs().max() < 1e-5
    assert predictor.runtime == "eager" and "no such instruction" in caplog.text


def test_what_is_not_installed_or_not_offered_is_said(cache, monkeypatch):
    with pytest.raises(ConfigError, match="openvino"):
        load("onnx", precision="bf16")
    monkeypatch.setattr("moganet.inference.runtimes._is_installed", lambda package: False)
    for runtime in PACKAGES:
        with pytest.raises(ConfigError, match=r"pip install ('moganet\[export\]'|openvino)"):
            moganet.load(GOLDEN / "mini_official.pth.tar", runtime)


@pytest.mark.parametrize(
    ("machine", "onednn", "units", "expected"),
    [
        ("x86_64", True, (False, False), False),  # any AVX-512 is enough for oneDNN's own answer
        ("x86_64", True, (True, False), True),
        ("AMD64", True, (False, True), True),
        ("aarch64", True, (False, False), True),
        ("arm64", False, (False, False), False),
    ],
)
def test_bf16_is_fast_where_the_processor_has_units_for_it(machine, onednn, units, expected, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: onednn)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: units[0])
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: units[1])
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: True)
    assert has_fast_bf16("cpu") is expected


def test_bf16_of_a_gpu_counts_where_it_is_not_emulated(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert has_fast_bf16("cuda") is False


def test_bf16_without_units_is_said(cache, monkeypatch, caplog):
    monkeypatch.setattr("moganet.inference.runtimes.has_fast_bf16", lambda device: False)
    with caplog.at_level(logging.WARNING):
        load("eager", precision="bf16")
    assert "no bf16 units" in caplog.text


def test_signals_are_answered_after_openvino_models_came_and_went():
    """Its plugin gives the thread a stack for signals, and two plugins would leave one that is gone."""
    pytest.importorskip("openvino")
    process = OwnProcess(load_and_forget)
    _, said = process.communicate(timeout=120)
    assert said.splitlines()[-1:] == ["answered"] and process.returncode == 0, said


BOUND = """
import os, threading, numpy as np, moganet
from moganet.processors import using_threads
seen, ended = set(), threading.Event()
def look():  # while they compute: OpenVINO binds threads for that time alone
    while not ended.wait(0.001):
        for thread in map(int, os.listdir("/proc/self/task")):
            try:
                seen.add(frozenset(os.sched_getaffinity(thread)))
            except ProcessLookupError:
                pass
looking = threading.Thread(target=look)
looking.start()
predictor = moganet.load("moganet_nano.cifar10", "openvino")
with using_threads(1):
    for number in (1, 64, 640):
        predictor.outputs(np.zeros((number, 3, 32, 32), np.float32))
ended.set()
looking.join()
assert seen == {frozenset(os.sched_getaffinity(0))}, seen
"""


@pytest.mark.skipif(sys.platform != "linux" or num_cores() < 2, reason="needs Linux and two cores")
def test_with_fewer_threads_than_cores_openvino_binds_none_to_a_core():
    """Two processes of one thread each would have theirs on the same core."""
    pytest.importorskip("openvino")
    subprocess.run([sys.executable, "-c", BOUND], check=True)


def load_and_forget():
    faulthandler.enable()
    first, second = (moganet.load(GOLDEN / "mini_official.pth.tar", "openvino") for _ in range(2))
    for predictor in (first, second):
        predictor.logits(torch.zeros(1, 3, 32, 32))
    del predictor
    del first
    gc.collect()
    del second
    gc.collect()
    signal.signal(signal.SIGUSR1, lambda number, frame: print("answered", file=sys.stderr))
    signal.raise_signal(signal.SIGUSR1)

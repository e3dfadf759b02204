"""Every private name of another package that we touch is still there, and still does what we touch it for."""

import io
import multiprocessing
import platform
import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from torchmetrics import MeanMetric

from moganet import compat


def test_the_unpickler_in_python_can_be_taught():
    steps, original = [], compat.PythonUnpickler.dispatch

    class Taught(compat.PythonUnpickler):
        dispatch = {**original, ord("."): lambda self: (steps.append("stop"), original[ord(".")](self))}  # noqa: RUF012

    assert Taught(io.BytesIO(b"K\x07.")).load() == 7 and steps == ["stop"]


def test_units_for_bf16_are_told():
    assert compat.has_onednn_bf16() in (True, False)
    if platform.machine() in ("x86_64", "AMD64"):
        by_torch = compat.has_x86_bf16_units(), compat.cpu_capability()
        with pytest.MonkeyPatch.context() as patch:
            patch.delitem(sys.modules, "torch")  # then the kernel is asked, which says the same
            assert (compat.has_x86_bf16_units(), compat.cpu_capability()) == by_torch


def test_the_compiler_ahead_of_time_is_there():
    from torch._inductor import aoti_compile_and_package, aoti_load_package

    assert callable(aoti_compile_and_package) and callable(aoti_load_package)
    with pytest.raises((RuntimeError, OSError)):
        compat.load_compiled("no such file.pt2")


def test_timms_indices_are_taken():
    assert compat.take_indices(4, None) == ([0, 1, 2, 3], 3)
    assert compat.take_indices(4, 2) == ([2, 3], 3) and compat.take_indices(4, [0, -3]) == ([0, 1], 1)


def test_a_metric_believes_the_count_that_it_is_given():
    metric = MeanMetric()
    assert not metric.update_called
    compat.set_update_count(metric, 3)
    assert metric.update_count == 3 and metric.update_called


class Stepping(pl.LightningModule):
    """A module of one weight that logs every step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        self.log("loss", batch.sum())
        return (self.weight * batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def train_dataloader(self):
        return torch.ones(3, 1)


def test_lightnings_loops_have_the_names_that_a_resumed_run_needs(tmp_path):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(max_steps=2, accelerator="cpu", logger=False, default_root_dir=tmp_path, **quiet)
    assert trainer.fit_loop._iteration_based_training()
    compat.restart_within_epochs(trainer)
    assert not trainer.fit_loop._iteration_based_training()
    trainer.fit(Stepping())
    assert trainer.global_step == 2


def test_multiprocessing_says_when_a_process_is_being_started(monkeypatch):
    from multiprocessing import spawn

    assert not compat.is_being_started()
    assert "_inheriting" in spawn._main.__code__.co_names  # what a started process sets while it reads the script
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    assert compat.is_being_started()


def test_hooks_of_a_module_are_seen_and_gone_when_removed():
    module = torch.nn.Linear(2, 2)
    assert not compat.has_hooks(module)
    for register in (module.register_forward_hook, module.register_forward_pre_hook):
        handle = register(lambda *_: None)
        assert compat.has_hooks(module)
        handle.remove()
        assert not compat.has_hooks(module)


OPENVINO = """
import sys
from moganet.compat import import_openvino
openvino = import_openvino()
assert "openvino.tools.ovc" not in sys.modules and not hasattr(openvino, "no such tool")
from openvino import convert_model
import openvino.tools.ovc
assert openvino.convert_model is convert_model is openvino.tools.ovc.convert_model
"""


def test_openvinos_converter_is_there_when_it_is_asked_for():
    pytest.importorskip("openvino")
    subprocess.run([sys.executable, "-W", "ignore", "-c", OPENVINO], check=True)


def test_ray_prints_nothing_of_its_processes(capsys, monkeypatch):
    worker = pytest.importorskip("ray._private.worker", reason="ray is not installed (extra 'scale')")
    monkeypatch.setattr(worker, "_worker_logs_enabled", True)
    for said, expected in (("a line", True), ("another", False)):
        worker.print_to_stdstream({"lines": [said], "pid": "raylet", "is_err": False}, ignore_prefix=False)
        assert (said in capsys.readouterr().out) == expected
        compat.hush_ray()

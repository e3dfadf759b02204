"""What the tests share: golden files, real data where it is at hand, and one small trained run."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import moganet  # before torch, whose threads then sleep while they wait

# isort: split
import pytest
from golden_files import GOLDEN, fill, golden, noise_image
from hypothesis import settings
from once import SHARED, once

__all__ = ["GOLDEN", "MINI", "fill", "golden", "noise_image", "real_data"]  # what tests ask for

# The same examples each time in CI, new ones on a developer's machine.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("developer", deadline=None)
settings.load_profile("ci" if "CI" in os.environ else "developer")

os.environ.setdefault("MOGANET_REPORT", "off")  # small trainings write no page; its tests ask for it
MINI = {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 2, 1), "mlp_ratios": (8, 8, 4, 4), "num_classes": 10}


# Cases of tests that are quick for the others of their kind: a detector's graph takes a minute to be made.
SLOW_CASES = {
    "test_every_format_answers_as_the_model[detect-openvino]",
    "test_int8_is_calibrated_compared_and_kept_where_it_decides_alike[detect-of pixels]",
    "test_int8_is_calibrated_compared_and_kept_where_it_decides_alike[pose-of pixels]",
    "test_raw_takes_images_of_any_size_and_gives_probabilities[program]",
    "test_other_precisions_stay_within_their_tolerance[program-f16]",
    "test_a_run_that_dies_again_and_again_ends_as_if_it_had_not[photos]",
    "test_losses_and_gradients_are_the_references[mask_rcnn_xtiny]",
    "test_two_processes_at_once_download_once",
    "test_the_finder_chooses_a_batch_and_writes_it_down",
    "test_no_file_of_another_form_or_another_model_is_lost",
    "test_one_model_is_a_flat_object_with_its_memory",
    "test_int8_is_calibrated_compared_and_kept_where_it_decides_alike[segment-of pixels]",
    "test_the_same_classes_keep_their_head_and_teach",
    "test_an_exported_file_is_a_model_for_other_commands[program]",
    "test_a_search_goes_on_after_a_crash_and_outlives_trials_that_fail",
    "test_a_raw_file_from_before_it_was_said_is_taken_as_it_was_made",
    "test_scale",
    "test_a_service_on_ray_answers_as_the_service_does",
    "test_every_runtime_gives_the_golden_logits_for_every_size_and_batch[onnx]",
    "test_keep_run",
}


def pytest_configure(config):
    """Give all processes of a test run one folder for what `once` makes."""
    if SHARED not in os.environ:
        os.environ[SHARED] = tempfile.mkdtemp(prefix="moganet-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(SHARED), ignore_errors=True))


@pytest.hookimpl(tryfirst=True)  # before those are left out that were not asked for
def pytest_collection_modifyitems(items):
    """Mark what is slow, and run the small trained run's tests last, so that quick failures come first."""
    for item in items:
        if item.name in SLOW_CASES:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: "trained_run" in getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape in a test's output what stands for bytes that aren't UTF-8: pytest-xdist can't send it."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch):
    monkeypatch.setenv("MOGANET_CACHE", f"{os.environ[SHARED]}/cache")
    monkeypatch.setenv("MOGANET_RUNTIME", "eager")  # which takes no time to start; the runtimes have tests of their own


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    """Let small trainings draw nothing, which takes as long as a few of their steps; `trained_run` and others draw."""
    if "moganet.training.run" in sys.modules:
        undrawn = "moganet.report.curves.draw_curves"
        monkeypatch.setattr(undrawn, lambda metrics, path, *_: path.write_bytes(b"not drawn"))


def real_data(name: str) -> Path:
    """Find a real data set in $MOGANET_DATA or ../shared/data, or skip the test."""
    folders = [Path(os.environ["MOGANET_DATA"])] if "MOGANET_DATA" in os.environ else []
    for folder in (*folders, Path(__file__).parents[2] / "shared" / "data"):
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"{name} is neither in $MOGANET_DATA nor in ../shared/data")


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> Path:
    """Train one small network on the digits for a few seconds and give the run's folder, a copy of each process's own.

    Tests measure it and report on it, which writes beside it.
    """
    return shutil.copytree(once("trained_run", _train), tmp_path_factory.mktemp("runs") / "digits")


def _train(out: Path) -> None:

    overrides = {
        "trainer.max_epochs": 3,
        "network.embed_dims": [16, 16, 32, 32],
        "network.depths": [1, 1, 1, 1],
        "optimizer.lr": 4e-3,
    }
    moganet.train("digits", overrides=overrides, out=out)


@pytest.fixture
def http_folder():
    """Serve a folder on 127.0.0.1 and give its address."""
    import functools
    import http.server
    import threading

    servers = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    def serve(folder):
        handler = functools.partial(Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()

"""One Predictor that many threads ask at once, and one that a forked process takes over."""

import copy
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from small_model import exported, model, need, pictures

import moganet
from moganet.errors import MogaNetError
from moganet.inference import threads
from moganet.inference.runtimes import LazyRun

THREADS = 8
RUNTIMES = ("eager", "onnx", "openvino")


@pytest.fixture(scope="module")
def expected():
    return one_by_one(moganet.load(model(), "eager"))


def one_by_one(predictor):
    return torch.stack([predictor.logits(predictor.preprocess(image))[0] for image in pictures()]).softmax(1)


def ask_in_threads(predictor, expected, tolerance):
    """Ask for single images and batches of different sizes from threads that all begin at once."""
    begin, images = threading.Barrier(THREADS), pictures()

    def ask(number):
        begin.wait(30)
        worst = 0.0
        for turn in range(6):
            start = (number + 5 * turn) % len(images)
            places = [start] if turn % 2 else [(start + i) % len(images) for i in range(7)]
            logits = predictor.logits(predictor.preprocess([images[i] for i in places]))
            worst = max(worst, (logits.softmax(1) - expected[places]).abs().max().item())
        return worst

    with ThreadPoolExecutor(THREADS) as pool:
        assert max(pool.map(ask, range(THREADS))) < tolerance


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_gives_each_thread_its_own_answer(runtime, threads, expected, monkeypatch):
    need(runtime)
    monkeypatch.setattr("moganet.inference.runs.openvino.PIXELS", 2 * 32 * 48)  # so that seven go in streams
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ask_in_threads(moganet.load(model(), runtime), expected, 1e-4)
        monkeypatch.setenv("MOGANET_RUNTIME", runtime)
        ask_in_threads(moganet.load(model(), "auto"), expected, 1e-4)  # which is opened by the first to ask
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("to", "kind"), [("onnx", "plain"), ("program", "plain"), ("openvino", "raw")])
def test_every_exported_file_gives_each_thread_its_own_answer(to, kind):
    predictor = moganet.load(exported(to, kind))
    ask_in_threads(predictor, one_by_one(predictor), 1e-4)


def test_the_lazy_opening_happens_once(monkeypatch):
    predictor, opened = moganet.load(model(), "auto"), []
    original = LazyRun._open
    monkeypatch.setattr(LazyRun, "_open", lambda self: (opened.append(1), original(self))[1])
    x = predictor.preprocess(pictures()[0])
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: predictor.logits(x), range(THREADS)))
    assert len(opened) == 1


def test_a_predictor_can_still_be_copied():
    predictor = moganet.load(model(), "eager")
    x = predictor.preprocess(pictures()[0])
    assert torch.equal(copy.deepcopy(predictor).logits(x), predictor.logits(x))


def answer_and_end(ask, expected):
    """In a forked process: end with 0 for the right answer, 2 for an error of ours, by a signal where it waits."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(30)
    try:
        os._exit(0 if (ask() - expected).abs().max() < 1e-4 else 1)
    except MogaNetError:
        os._exit(2)
    finally:
        os._exit(3)


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_can_not_be_made_ready_in_a_forked_process_is_an_error_and_no_wait(expected):
    predictor = moganet.load(exported("openvino"))  # which nobody has asked yet
    child = os.fork()
    if not child:
        answer_and_end(lambda: predictor.logits(predictor.preprocess(pictures())).softmax(1), expected)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("runtime", [*RUNTIMES, "onnx file", "openvino file", "program file"])
def test_a_forked_process_answers_and_does_not_wait_for_threads_that_are_gone(runtime, expected, monkeypatch):
    monkeypatch.setattr("moganet.inference.runs.openvino.PIXELS", 2 * 32 * 48)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        if runtime.endswith("file"):
            predictor = moganet.load(exported(runtime.split()[0]))
        else:
            need(runtime)
            predictor = moganet.load(model(), runtime)
        predictor(pictures())  # the threads are there now, and what is for many images
        predictor(pictures()[0])
        with ExitStack() as others:  # as if another thread were within whatever is guarded
            for guard in list(threads._guards):
                others.enter_context(guard)
            child = os.fork()
            if not child:
                answer_and_end(lambda: predictor.logits(predictor.preprocess(pictures())).softmax(1), expected)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)

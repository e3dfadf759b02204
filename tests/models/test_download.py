"""Released files come over a poor line whole or not at all, and each failure says where to put the file by hand."""

import gc
import http.server
import os
import re
import sys
import threading
import time
from collections import Counter

import pytest
import timm
import torch
from conftest import GOLDEN, MINI, golden
from own_process import OwnProcess, barrier

import moganet
from moganet.errors import MogaNetError, OutputError, WeightsError
from moganet.models import download
from moganet.network import VARIANTS
from moganet.network.releases import RELEASES

SHAPE = {key: MINI[key] for key in ("embed_dims", "depths", "mlp_ratios")}
OFFICIAL = (GOLDEN / "mini_official.pth.tar").read_bytes()
FILES = {
    RELEASES["moganet_xtiny.in1k"].file: OFFICIAL,
    RELEASES["moganet_tiny.openmixup_in1k_256"].file: (GOLDEN / "mini_openmixup.pth").read_bytes(),
}


class PoorLine:
    """A server of the mini files under the released names, which can break off, know no ranges, or answer oddly."""

    def __init__(self):
        self.files, self.requests, self.served = dict(FILES), [], Counter()
        self.break_after, self.ranges, self.status, self.kind, self.length = None, True, None, "application/gzip", True
        self.wrong_range, self.refuses_ranges, self.location = False, False, None
        line = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                line.answer(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/weights"

    def answer(self, handler):
        name = handler.path.rpartition("/")[2]
        asked = handler.headers.get("Range")
        self.requests.append(asked)
        content = self.files.get(name)
        if self.location:
            handler.send_response(302)
            handler.send_header("Location", self.location)
            handler.end_headers()
            return
        if self.status or content is None:
            handler.send_error(self.status or 404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.ranges else 0
        if start >= len(content) or (start and self.refuses_ranges):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Type", self.kind)
        if start:
            shown = start + 1 if self.wrong_range else start
            handler.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        if self.length:
            handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        sent = content[start:] if self.break_after is None else content[start : start + self.break_after]
        handler.wfile.write(sent)
        self.served[name] += len(sent)


@pytest.fixture
def line(monkeypatch, tmp_path):
    server = PoorLine()
    monkeypatch.setenv("MOGANET_WEIGHTS_URL", server.url)
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    for name in ("moganet_xtiny", "moganet_tiny"):
        monkeypatch.setitem(VARIANTS, name, SHAPE)
    monkeypatch.setattr(download, "PAUSE", 0)
    yield server
    server.server.shutdown()
    server.server.server_close()


def cached(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache" / "weights").iterdir() if p.suffix != ".lock")


NAME = "moganet_xtiny.in1k"
FILE = RELEASES[NAME].file


def test_timm_and_load_download_once_and_compute_the_authors_function(line):
    values = golden("mini_single_gate_expected")
    network = timm.create_model("moganet_xtiny", pretrained=True, num_classes=10).eval()
    assert (network(values["input"]) - values["logits"]).abs().max() < 1e-5
    predictor = moganet.load(NAME)
    assert (predictor.logits(values["input"]) - values["logits"]).abs().max() < 1e-5
    assert predictor.config.provenance["weights"] == "plain" and len(line.requests) == 1


def test_an_openmixup_release_brings_its_gate_and_size(line, caplog):
    caplog.set_level("INFO", "moganet")
    values, name = golden("mini_double_gate_expected"), "moganet_tiny.openmixup_in1k_256"
    network = timm.create_model(name, pretrained=True, num_classes=10).eval()
    assert network.gate == "double" and network.default_cfg["input_size"] == (3, 256, 256)
    assert (network(values["input"]) - values["logits"]).abs().max() < 1e-5
    predictor = moganet.load(name)
    assert (predictor.logits(values["input"]) - values["logits"]).abs().max() < 1e-5
    assert predictor.config.preprocessing.size == (256, 256) and "double gate" in caplog.text


def test_timm_gets_other_classes_channels_and_features(line, caplog):
    caplog.set_level("INFO", "moganet")
    network = timm.create_model("moganet_xtiny.in1k", pretrained=True, num_classes=4, in_chans=1, stem_stride=1)
    weight = moganet.load(NAME).model.patch_embed1.projection[0].weight
    assert torch.allclose(network.patch_embed1.projection[0].weight, weight.sum(1, keepdim=True))
    assert "4 classes instead of 10" in caplog.text and network.head.weight.std() > 0
    features = timm.create_model("moganet_xtiny", pretrained=True, features_only=True).eval()
    values = golden("mini_single_gate_expected")
    assert (features(values["input"])[3] - values["stage4"]).abs().max() < 1e-5


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on(line, ranges, tmp_path):
    line.ranges = ranges
    line.break_after = len(OFFICIAL) // 2 + 1 if ranges else None
    if not ranges:  # the first connection breaks, the second must begin anew
        partial = tmp_path / "cache" / "weights" / f"{FILE}.partial"
        partial.parent.mkdir(parents=True)
        partial.write_bytes(b"the start of something else")
    path = download.fetch(NAME)
    assert path.read_bytes() == OFFICIAL and cached(tmp_path) == [FILE]
    if ranges:
        assert line.requests == [None, f"bytes={line.break_after}-"] and line.served[FILE] == len(OFFICIAL)


def test_a_line_that_gives_nothing_more_is_given_up_and_what_came_is_kept(line, tmp_path):
    half = len(OFFICIAL) // 2
    partial = tmp_path / "cache" / "weights" / f"{FILE}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(OFFICIAL[:half])
    line.break_after = 0
    with pytest.raises(WeightsError, match=f"{half:,} bytes are kept") as caught:
        download.fetch(NAME)
    assert str(tmp_path / "cache" / "weights" / FILE) in str(caught.value) and "\n" not in str(caught.value)
    line.break_after = None
    assert download.fetch(NAME).read_bytes() == OFFICIAL and line.served[FILE] == len(OFFICIAL) - half


@pytest.mark.parametrize("kept", [len(OFFICIAL), len(OFFICIAL) + 7])
def test_a_whole_or_too_long_part_is_finished(line, kept, tmp_path):
    partial = tmp_path / "cache" / "weights" / f"{FILE}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes((OFFICIAL + b"x" * 7)[:kept])
    assert download.fetch(NAME).read_bytes() == OFFICIAL


def partial_of(tmp_path):
    partial = tmp_path / "cache" / "weights" / f"{FILE}.partial"
    partial.parent.mkdir(parents=True)
    return partial


@pytest.mark.parametrize("sent", [1, len(OFFICIAL) // 2])
def test_a_server_that_breaks_off_and_then_knows_no_such_range_is_given_up(line, sent, tmp_path):
    line.break_after, line.refuses_ranges = sent, True
    with pytest.raises(WeightsError, match="put it at"):
        download.fetch(NAME)
    assert len(line.requests) < 3 * download.ATTEMPTS


def test_one_byte_an_answer_is_no_progress(line, tmp_path):
    line.break_after = 1
    with pytest.raises(WeightsError, match="bytes are kept"):
        download.fetch(NAME)
    assert len(line.requests) == download.ATTEMPTS


def test_a_wrong_range_is_mended_by_beginning_anew(line, tmp_path):
    partial_of(tmp_path).write_bytes(OFFICIAL[:1000])
    line.wrong_range = True
    assert download.fetch(NAME).read_bytes() == OFFICIAL and line.requests == ["bytes=1000-", None]


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_what_is_no_file_in_place_of_the_part_is_not_written_through(line, kind, tmp_path):
    partial, other = partial_of(tmp_path), tmp_path / "other"
    if kind == "pipe":
        os.mkfifo(partial)
    else:
        partial.symlink_to(other)
    if kind == "link":
        other.write_bytes(b"somebody's")
    assert download.fetch(NAME).read_bytes() == OFFICIAL
    assert not other.exists() if kind != "link" else other.read_bytes() == b"somebody's"


def test_what_follows_the_end_of_the_archive_is_refused(line, tmp_path):
    line.files[FILE] = OFFICIAL + b"more"
    with pytest.raises(WeightsError, match="follows the end"):
        download.fetch(NAME)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("place", ["file:///etc/passwd", "http://[", "weights", "gopher://127.0.0.1/x"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib leaves the first answer open
def test_a_redirection_to_elsewhere_is_one_line(line, place, tmp_path):
    line.location = place if place != "weights" else f"{line.url}/{FILE}"  # to itself, again and again
    with pytest.raises(WeightsError, match="put it at") as caught:
        download.fetch(NAME)
    assert "\n" not in str(caught.value)
    del caught
    gc.collect()


def test_a_head_that_never_ends_and_a_body_that_trickles_are_given_up(line, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "ANSWER", 0.1)
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *_, **__: time.sleep(1))
    with pytest.raises(WeightsError, match="no answer"):
        download.fetch(NAME)

    class Trickle:
        def read1(self, _):
            return b"x"

    monkeypatch.setattr(download, "WINDOW", 0.05)
    monkeypatch.setattr(download, "SLOWEST", 1 << 40)
    with pytest.raises(download._BrokenError, match="bytes a second"):
        list(download._chunks(Trickle()))


def test_a_part_of_another_file_is_noticed_and_dropped(line, tmp_path):
    partial = tmp_path / "cache" / "weights" / f"{FILE}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(len(OFFICIAL) // 2))
    with pytest.raises(WeightsError, match="not moganet_xtiny"):
        download.fetch(NAME)
    assert cached(tmp_path) == []
    assert download.fetch(NAME).read_bytes() == OFFICIAL


def damaged(content):
    middle = bytearray(content)
    middle[len(content) // 2] ^= 1
    return bytes(middle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": 404}, "HTTP 404"),
        ({"status": 403}, "HTTP 403"),
        ({"status": 500}, "HTTP 500"),
        ({"kind": "text/html; charset=utf-8"}, "web page"),
        ({"files": {FILE: b"<!DOCTYPE html><html>log in</html>"}}, "web page"),
        ({"files": {FILE: OFFICIAL[: len(OFFICIAL) // 2]}}, "not moganet_xtiny"),
        ({"files": {FILE: OFFICIAL[: len(OFFICIAL) // 2]}, "length": False}, "not moganet_xtiny"),
        ({"files": {FILE: damaged(OFFICIAL)}}, "damaged"),
        ({"files": {FILE: b"nothing of the kind"}}, "not moganet_xtiny"),
    ],
    ids=["404", "403", "500", "html", "html by content", "short", "short without length", "flipped", "text"],
)
def test_every_failure_is_one_line_with_the_place_for_the_file(change, said, line, tmp_path):
    for key, value in change.items():
        setattr(line, key, value)
    with pytest.raises(WeightsError, match=said) as caught:
        moganet.load(NAME)
    place = tmp_path / "cache" / "weights" / FILE
    assert f"put it at {place}" in str(caught.value) and "\n" not in str(caught.value)
    assert not place.exists()
    place.write_bytes(OFFICIAL)  # by hand
    assert moganet.load(NAME).trained


def test_another_variants_file_is_refused(line, monkeypatch):
    monkeypatch.setitem(VARIANTS, "moganet_xtiny", {**SHAPE, "depths": (1, 1, 1, 1)})
    with pytest.raises(WeightsError, match="depths"):
        download.fetch(NAME)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://no.such.host.invalid", "nonsense"])
def test_off_line_is_said_at_once(url, monkeypatch, tmp_path):
    monkeypatch.setenv("MOGANET_WEIGHTS_URL", url)
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path))
    with pytest.raises(MogaNetError, match="put it at") as caught:
        timm.create_model("moganet_small", pretrained=True)
    assert "\n" not in str(caught.value) and "moganet_small_sz224" in str(caught.value)


def test_a_cache_that_can_not_be_written_is_said(line, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="MOGANET_CACHE"):
        moganet.load(NAME)


def test_timms_cache_folder_is_used(line, tmp_path):
    timm.create_model("moganet_xtiny", pretrained=True, num_classes=10, cache_dir=tmp_path / "own")
    assert (tmp_path / "own" / FILE).read_bytes() == OFFICIAL


def fetch_at_once(begin):
    VARIANTS["moganet_xtiny"] = SHAPE
    begin.wait(60)
    print(download.fetch(NAME), file=sys.stderr)


def test_two_processes_at_once_download_once(line, tmp_path):
    line.break_after = len(OFFICIAL) // 3
    begin = barrier(2)
    both = [OwnProcess(fetch_at_once, begin) for _ in range(2)]
    paths = {process.communicate(timeout=120)[1].splitlines()[-1] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert paths == {str(tmp_path / "cache" / "weights" / FILE)} and line.served[FILE] == len(OFFICIAL)


@pytest.mark.parametrize("name", RELEASES)
def test_every_release_is_a_configuration_of_timms(name):
    release, cfg = RELEASES[name], timm.get_pretrained_cfg(name)
    assert timm.is_model_pretrained(name.partition(".")[0]) and name in timm.list_pretrained("moganet*")
    assert cfg.url == release.url and cfg.url.endswith(release.file) and cfg.custom_load
    assert cfg.crop_pct == 0.9 and cfg.interpolation == "bicubic" and cfg.input_size == (3, release.size, release.size)
    assert cfg.mean == (0.485, 0.456, 0.406) and cfg.std == (0.229, 0.224, 0.225)
    for part in (str(release.top1), release.gate, release.weights):
        assert part in cfg.description
    assert f"sz{release.size}" in release.file and name.partition(".")[0].removeprefix("moganet_") in release.file


def test_the_names_without_a_tag_mean_the_official_weights():
    for name in VARIANTS:
        assert timm.get_pretrained_cfg(name).tag == ("untrained" if name == "moganet_nano" else "in1k")
    assert set(RELEASES) < set(moganet.list_models(pretrained=True))

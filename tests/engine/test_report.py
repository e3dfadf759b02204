"""The report: what a person reads on the page, opened in a browser where there is one."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import moganet
from moganet.engine import train as training
from moganet.engine.report import write_report
from moganet.errors import ConfigError, DataError, OutputError, WeightsError
from moganet.inference import load_model_file
from moganet.tasks.classify.reliability import fit_temperature

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def reported(trained_run, tmp_path_factory):
    """Copy the run, report on it, and give the folder, the result and the page."""
    run = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(trained_run, run)
    result = write_report(run, runtime="eager")
    return run, result, (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def digit_files(root, places):
    """Write the digits' test images at `places` into train/ and test/, a folder for each class."""
    images = moganet.open_data("digits").split("test")
    for split in ("train", "test"):
        for digit in range(10):
            (root / split / str(digit)).mkdir(parents=True)
        for place in places:
            sample = images[place]
            file = root / split / str(sample.label) / f"{place}.png"
            Image.fromarray(sample.image[0].numpy()).save(file)
    return root


def test_the_page_says_what_the_evaluation_says(reported):
    run, result, page = reported
    measured = moganet.evaluate(run, out=run / "measured")
    assert result["top1"] == pytest.approx(measured["top1"]) and result["ece"] == pytest.approx(measured["ece"])
    assert f"{100 * measured['top1']:.1f} % of 360 images of digits right" in page
    low, high = measured["interval"]
    assert f"95 % interval {100 * low:.1f} to {100 * high:.1f}" in page
    confusion = {(int(t), int(p)): int(n) for t, p, n in re.findall(r'data-cell="(\d),(\d)" data-count="(\d+)"', page)}
    expected = {(t, p): n for t, row in enumerate(measured["confusion"]) for p, n in enumerate(row) if n}
    assert confusion == expected
    for row in measured["per_class"]:
        assert f"{100 * row['precision']:.1f} %</td>" in page
    assert result["left_out"] == () and result["bytes"] == len(page.encode())
    assert "moganet train digits --data digits --seed 0" in page
    assert "optimizer:" in page and torch.__version__ in page and "Learning rate" in page


def test_a_cell_opens_images_of_that_truth_and_prediction(reported):
    run, _, page = reported
    opened = json.loads(re.search(r'id="opened">(.*?)</script>', page)[1])
    truth = moganet.open_data("digits").split("test").labels
    predictions = [p["classes"][0]["name"] for p in moganet.predict(run, data="digits", top_k=1)["predictions"]]
    assert sum(len(shown) for shown in opened.values()) > 50
    for cell, shown in opened.items():
        for _, caption in shown:
            place = int(re.search(r"test/(\d+)", caption)[1])
            assert cell == f"{truth[place]},{predictions[place]}"


def test_the_temperature_is_kept_and_used(reported, trained_run):
    run, result, page = reported
    state, description = load_model_file(run / "best.safetensors")
    old, _ = load_model_file(trained_run / "best.safetensors")
    assert description.task.temperature == pytest.approx(result["temperature"])
    assert all(torch.equal(state[name], old[name]) for name in old) and moganet.verify(run)["ok"]
    predictor = moganet.load(run)
    images = [sample.image for sample in moganet.open_data("digits").split("test").subset([0, 1, 2])]
    logits = predictor.logits(predictor.preprocess(images))
    probabilities = [p.probabilities for p in predictor(images, top_k=1, calibrated=True)]
    expected = (logits / description.task.temperature).softmax(1).amax(1)
    assert [p[0] for p in probabilities] == pytest.approx(expected.tolist(), rel=1e-4)
    assert f"{100 * result['ece_calibrated']:.1f} %" in page
    again = write_report(run, runtime="eager", explain=None)
    assert again["temperature"] == description.task.temperature
    assert [left["part"] for left in again["left_out"]] == ["explanation"]


def test_calibrated_predictions_need_a_temperature(trained_run):
    with pytest.raises(ConfigError, match="moganet report"):
        moganet.predict(trained_run, data="digits", limit=2, calibrated=True)


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(truth):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial((logits / truth).softmax(1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits, labels) == pytest.approx(truth, rel=0.05)
    assert fit_temperature(logits[:50], logits[:50].argmax(1)) == pytest.approx(0.05)  # nothing is wrong


def test_wrong_labels_and_copies_are_found(trained_run, tmp_path):
    root = digit_files(tmp_path / "set", range(150))
    predictions = moganet.predict(trained_run, [root / "test"], top_k=1)["predictions"]
    right = [found for found in predictions if found["classes"][0]["name"] == found["truth"]]
    right.sort(key=lambda found: -found["classes"][0]["probability"])
    moved = [Path(found["file"]).name for found in right[:4]]
    for found in right[:4]:
        shutil.move(found["file"], root / "test" / str(9 - int(found["truth"])))
    result = write_report(trained_run, f"folder:{root}", out=tmp_path / "page.html", explain=None)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    labels = page.partition('kicker">Labels')[2].partition("</section>")[0]
    assert all(f"({name})" in labels for name in moved) and 4 <= result["suspected_labels"] <= 24
    assert result["copies"] == ({"split": "test", "in": "train", "images": 150},)
    assert load_model_file(trained_run / "best.safetensors")[1].task.temperature is None  # other data's is not kept


def test_a_part_whose_package_is_missing_says_so(trained_run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    root = digit_files(tmp_path / "set", range(40))
    result = write_report(trained_run, f"folder:{root}", out=tmp_path / "page.html", explain=None)
    assert {left["part"] for left in result["left_out"]} == {"labels", "explanation"}
    assert "pip install &#39;moganet[report]&#39;" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_unreadable_files_count_nowhere(trained_run, tmp_path):
    root = digit_files(tmp_path / "set", range(30))
    (root / "test" / "0" / "aa.png").write_text("no image")
    result = write_report(trained_run, f"folder:{root}", out=tmp_path / "page.html")
    assert result["num_images"] == 30 and len(result["unreadable"]) == 1
    assert "can&#39;t be read and count nowhere" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"model": "/no/such"}, WeightsError, "there is no model"),
        ({"data": "/no/such"}, DataError, "neither a path nor"),
        ({"split": "elsewhere"}, DataError, "no split"),
        ({"out": "."}, OutputError, "is a folder"),
        ({"out": "/proc/x/page.html"}, OutputError, "can't write"),
    ],
)
def test_what_can_not_be_reported_is_said(reported, options, error, said):
    with pytest.raises(error, match=said):
        write_report(**({"model": reported[0], "explain": None, "runtime": "eager"} | options))


def test_training_writes_it_and_is_not_lost_to_it(tmp_path, monkeypatch, caplog):
    tiny = {"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "trainer.max_steps": 4}
    monkeypatch.setenv("MOGANET_REPORT", "on")
    result = moganet.train("digits", overrides=tiny, out=tmp_path / "run")
    assert result["report"] == str(tmp_path / "run" / "report.html") and (tmp_path / "run" / "report.html").is_file()
    assert "1 epoch, " in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")

    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("moganet.engine.report.write_report", broken)
    assert training._report(moganet.open_data("digits"), 0, result) is None
    assert f"moganet report {tmp_path / 'run'}" in caplog.text
    result = moganet.train("digits", overrides=tiny | {"report": False}, out=tmp_path / "run", overwrite=True)
    assert "report" not in result and not (tmp_path / "run" / "report.html").exists()


# What is cut off or must be scrolled to, but for the recipe's text.
HIDDEN = """[...document.querySelectorAll("table, td, th, section, .explained, div")].filter(one => one.clientWidth > 2
    && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "visible")
    .map(one => `${one.tagName} ${one.className} ${one.scrollWidth}`)"""


def open_page(browser, path, width, scheme, seen):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda request: seen.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("width", [400, 800])
def test_a_browser_shows_it_whole_and_asks_for_nothing(browser, reported, width):
    path, seen = reported[0] / "report.html", []
    colours = set()
    for scheme in ("light", "dark"):
        page = open_page(browser, path, width, scheme, seen)
        assert page.evaluate("document.documentElement.scrollWidth") <= width and page.evaluate(HIDDEN) == []
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        unnamed = "[...document.querySelectorAll('svg, [role=img]')].filter(e => !e.getAttribute('aria-label')).length"
        assert page.evaluate(unnamed) == 0 and page.locator("svg").count() >= 6
        cell = page.locator("button[data-cell]").first
        cell.click()
        pictures = page.locator("dialog[open] .t")
        assert 1 <= pictures.count() <= int(cell.get_attribute("data-count"))
        assert pictures.first.bounding_box()["width"] >= 48 and "predicted" in pictures.first.get_attribute(
            "aria-label"
        )
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        assert page.locator("button[data-cell][tabindex='0']").count() == 1
        cell.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        reached = page.evaluate("document.activeElement.dataset.cell")
        assert reached and reached != cell.get_attribute("data-cell")
    assert seen == [path.as_uri()] * 2 and len(colours) == 2


def test_a_point_of_the_map_opens_its_picture_and_the_nearest(browser, reported):
    seen = []
    page = open_page(browser, reported[0] / "report.html", 400, "light", seen)
    dots = page.locator("svg.map circle")
    number, moved = dots.count(), dots.nth(3).get_attribute("cx")
    assert number > 360
    dots.nth(3).scroll_into_view_if_needed()
    box = dots.nth(3).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    pictures = page.locator("dialog[open] .t.m")
    assert pictures.count() == 6 and pictures.first.bounding_box()["width"] >= 48
    named = page.locator("dialog[open] h2").inner_text()
    assert re.fullmatch(r"\d \(.*(test|train|val)/\d+\)", named)
    page.keyboard.press("Escape")
    page.locator("#map-layout").select_option("1")
    page.locator("#map-class").select_option("7")
    assert dots.nth(3).get_attribute("cx") != moved and 0 < page.locator("svg.map circle.on").count() < number / 5
    page.locator("svg.map").press("ArrowRight")
    page.locator("svg.map").press("Enter")
    assert page.locator("dialog[open]").count() == 1 and len(seen) == 1


def test_the_map_names_near_copies(trained_run, tmp_path):
    root = digit_files(tmp_path / "set", range(60))
    images = sorted((root / "test").rglob("*.png"))
    shutil.copy(images[0], root / "test" / "9" / "copy.png")
    write_report(trained_run, f"folder:{root}", out=tmp_path / "page.html", explain=None, runtime="eager")
    page = (tmp_path / "page.html").read_text(encoding="utf-8").partition('kicker">Map')[2]
    title = re.search(r"<h2>(.*?)</h2>", page)[1]
    assert title.startswith("61 images") and "1 pair of near-copies, 1 with two labels" in title
    assert "9 (test/copy.png)" in page.partition("Near-copies")[2].partition("</ul>")[0]


def test_a_network_without_features_has_no_map(trained_run, tmp_path, monkeypatch):
    for place in ("network.features", "inference.eager"):
        monkeypatch.setattr(f"moganet.{place}.gives_features", lambda network: False)
    result = write_report(trained_run, out=tmp_path / "page.html", explain=None, runtime="eager")
    assert "map" in {left.part for left in result.left_out}
    assert "this model gives no features" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_odd_names_stay_text(browser, trained_run, tmp_path):
    odd = '</script><b>"&{{x}}'
    predictor = moganet.load(trained_run)
    description = predictor.config.changed(class_names=(odd.replace("/", "∕"), "</script>", *"23456789"), provenance={})
    from moganet.inference import save_model_file

    save_model_file(tmp_path / "odd.safetensors", predictor.model.state_dict(), description)
    root = tmp_path / "set"
    for name in (odd.replace("/", "∕"), "2"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            noise = np.random.default_rng(i).integers(0, 255, (9, 12), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"<i>{i}.png")
    write_report(tmp_path / "odd.safetensors", f"folder:{tmp_path / 'set'}", out=tmp_path / "page.html")
    seen = []
    page = open_page(browser, tmp_path / "page.html", 800, "light", seen)
    assert len(seen) == 1 and page.locator("b", has_text="&{{x}}").count() > 0
    assert page.locator("i", has_text="0.png").count() == 0


def test_an_image_of_another_kind_is_rejected(reported, tmp_path):
    run, _, _ = reported
    predictor = moganet.load(run)
    assert 0.9 < predictor.config.task.reject.kept < 1 and predictor.config.task.reject.num_images > 100
    assert predictor.config.task.guard.kept == pytest.approx(0.945, abs=0.01)
    held = moganet.predict(run, data="digits", split="val")["predictions"]
    assert 0.02 < np.mean([one["rejected"] for one in held]) < 0.12
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32), np.uint8)
    assert all(one.rejected for one in predictor([*noise]))
    found = predictor.rejected(predictor.logits(predictor.preprocess([*noise])))  # by their energy
    assert found.float().mean() > 0.5
    assert moganet.load(run, num_classes=3).rejected(torch.zeros(1, 3)) is None  # found with another head

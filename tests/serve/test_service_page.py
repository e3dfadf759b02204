"""The page: what a person does there, in a browser; that it asks nobody outside, and is no way around the limits."""

import contextlib
import io
import shutil
import threading

import pytest
import uvicorn
from PIL import Image
from served import opened, png
from small_model import model
from test_segment_forms import made as segmenter

from moganet.inference.load import load
from moganet.models.formats.ours import save_model_file
from moganet.serve.app import build_app
from moganet.serve.door import Access
from moganet.serve.limits import Limits
from moganet.serve.page import mount

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "![](http://example.org/x.png)",
    "[a](javascript:alert(1))",
    "**d**",
    "&amp;",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A segmenter whose classes have hostile names, and a folder of samples, one of which is none."""
    place = tmp_path_factory.mktemp("page")
    network, description = segmenter("fpn")
    task = description.task.changed(class_names=HOSTILE)
    save_model_file(place / "seg.safetensors", network.state_dict(), description.changed(task=task))
    (place / "samples").mkdir()
    (place / "samples" / "<b>one.png").write_bytes(png())
    (place / "samples" / "broken.png").write_bytes(png()[:60])
    return place


@pytest.fixture(scope="module")
def running():
    """Hold the server and its thread, once a test has started them, and end them."""
    started = []
    yield started
    for server, thread in started:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def address(running, folder):
    """Serve the page by HTTP, as a browser needs it."""
    if not running:
        service = opened(Limits(seconds=60), small=model(), seg=folder / "seg.safetensors")
        door = build_app(service, Access(), lambda app: mount(app, service, folder / "samples"))
        server = uvicorn.Server(uvicorn.Config(door, port=0, log_config=None, ws="none"))
        running.append((server, threading.Thread(target=server.run, daemon=True)))
        running[0][1].start()
        while not server.started:
            running[0][1].join(0.02)
    return f"http://127.0.0.1:{running[0][0].servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture(scope="module")
def browser():
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextlib.contextmanager
def visited(browser, address, width=1280, scheme="light"):
    """Open the page; at the end nothing has gone wrong that nobody saw, and nobody outside was asked."""
    page, wrong = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme), []
    page.set_default_timeout(30_000)
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: wrong.append(request.url) if is_outside(request.url, address) else None)
    page.goto(address)
    page.wait_for_selector("#samples:not([hidden])")
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert not wrong


def is_outside(url, address):
    return not url.startswith((address, "blob:", "data:"))


def give(page, content, name="photo.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "application/octet-stream", "buffer": content})


def bars(card):
    return [tuple(bar.split("\n")) for bar in card.locator(".bars li").all_inner_texts()]


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_an_image_is_answered_and_explained(browser, address, width, scheme):
    answer = load(model())(Image.open(io.BytesIO(png())), calibrated=True)[0]
    with visited(browser, address, width, scheme) as page:
        give(page, png())
        card = page.locator(".card")
        card.locator(".said").wait_for()
        expected = zip(answer.names, answer.probabilities, strict=True)
        assert bars(card) == [(name, f"{100 * value:.1f} %") for name, value in expected]
        assert card.locator(".heading").inner_text() == "Calibrated probability"
        assert card.locator(".unlike").is_visible() == answer.rejected
        assert f"says {answer.names[0]} " in page.locator("#status").text_content()
        page.uncheck("#calibrated")
        page.get_by_text("Probability", exact=True).wait_for()  # and not "Calibrated probability", of the card before
        card.locator(".method").select_option("orders" if width == 400 else "gradcam")
        card.get_by_role("button", name="Explain").click()
        card.locator(".part").wait_for()
        assert ("Grad-CAM of" in card.locator("figcaption").inner_text()) == (width != 400)
        assert (card.locator(".which option").count() > 4) == (width == 400)  # a map for each branch of each stage
        slider = card.get_by_label("Opacity")
        slider.focus()
        for _ in range(5):
            page.keyboard.press("ArrowLeft")
        assert card.locator(".layer").evaluate("one => Number(one.style.opacity)") == pytest.approx(0.70)
        card.get_by_label("Show").select_option("")
        assert card.locator(".part").is_hidden() and card.locator("figcaption").inner_text() == "photo.png"


def test_two_models_stand_side_by_side_and_names_are_text(browser, address):
    with visited(browser, address) as page:
        page.get_by_role("combobox", name="Model").select_option("seg")
        page.get_by_label("Compare with").select_option("small")
        give(page, png(), "<img src=x onerror=alert(2)>.png")
        page.locator(".card .said").nth(1).wait_for()
        seg, small = page.locator(".card").all()
        assert [seg.locator("h2").inner_text(), small.locator("h2").inner_text()] == ["seg", "small"]
        assert seg.locator(".heading").inner_text() == "Share of the image" and seg.locator(".drawn").is_visible()
        assert {name for name, _ in bars(seg)} <= set(HOSTILE) and seg.locator(".swatch").count() == len(bars(seg))
        assert seg.locator("figcaption").inner_text() == "<img src=x onerror=alert(2)>.png"
        assert small.locator(".drawn").is_hidden() and page.locator("main img[src=x], main a").count() == 0
        left, right = seg.bounding_box(), small.bounding_box()
        assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]


def test_what_is_no_image_is_said_and_another_can_be_chosen_by_keys(browser, address):
    with visited(browser, address) as page:
        give(page, b"some text", "notes.txt")
        alert = page.locator("#problem")
        alert.wait_for()
        assert "notes.txt is no image that can be read" in alert.inner_text() and page.locator(".card").count() == 0
        page.locator("#samples button").focus()
        page.keyboard.press("Enter")
        page.locator(".card .said").wait_for()
        assert alert.is_hidden() and page.locator("figcaption").inner_text() == "<b>one.png"


def test_a_browser_asks_for_the_token(browser, address, running):
    """Without it, it shows a dialogue for a user and a password, which is the token; then all of the page has it."""
    door = running[0][0].config.app
    before, door.access = door.access, Access(token="a token of the tests")
    try:
        context = browser.new_context(http_credentials={"username": "anyone", "password": "a token of the tests"})
        page = context.new_page()
        assert page.goto(address).status == 200
        page.locator("#samples button").click(timeout=30_000)
        page.locator(".card .said").wait_for(timeout=30_000)
        context.close()
    finally:
        door.access = before

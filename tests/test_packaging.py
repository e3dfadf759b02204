"""What is packaged: all that the package reads and nothing else, one version, and a text that stands alone."""

import io
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import setuptools
import yaml

import moganet

ROOT = Path(__file__).parent.parent
LIMIT = 5_000_000  # bytes of the wheel


@pytest.fixture(scope="module")
def distribution():
    """What setuptools makes of pyproject.toml and setup.py, without building anything."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        made = setuptools.distutils.core.run_setup("setup.py", stop_after="config")
        build = made.get_command_obj("build_py")
        build.ensure_finalized()
        files = {Path(path) for _, _, path in build.find_all_modules()}
        files |= {Path(folder) / name for _, folder, _, names in build.data_files for name in names}
    finally:
        os.chdir(before)
    text = io.StringIO()
    made.metadata.write_pkg_file(text)
    return message_from_string(text.getvalue()), files


def test_the_package_s_files_are_packaged_and_no_others(distribution):
    _, files = distribution
    own = {
        path.relative_to(ROOT)
        for package in ("moganet", "moganet_cli")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    rooms = {path for path in own if path.name == "README.md" and "template" not in path.parts}  # for developers
    assert own - rooms == files
    assert sum((ROOT / path).stat().st_size for path in files if path.suffix != ".py") < LIMIT


def test_what_is_said_of_it_holds_everywhere(distribution):
    said, _ = distribution
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    heading = re.search(r"^## (?!Unreleased)(\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert said["Version"] == citation["version"] == heading[1] == moganet.__version__
    assert said["License-Expression"] == citation["license"] == "Apache-2.0"
    assert said.get_all("License-File") == ["LICENSE", "NOTICE"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    start = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    assert [name for name in extras if name != "dev" and f"| `{name}` |" not in start] == []


def test_the_long_description_stands_without_the_repository(distribution):
    said, _ = distribution
    text = said.get_payload()
    assert said["Description-Content-Type"] == "text/markdown" and "moganet train digits" in text
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    assert [to for to in re.findall(r"\]\(([^)\s]+)\)", prose) if not to.startswith("https:")] == []
    assert "![" not in prose and "[]" not in prose and prose.lstrip().startswith("# moganet")


@pytest.mark.slow
def test_the_wheel_predicts_and_trains_where_there_is_no_repository(tmp_path):
    wheels = tmp_path / "wheels"
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    source = tmp_path / "source"
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name.startswith(("moganet", "setup.py", "pyproject", "README.md", "LICENSE", "NOTICE", "MANIFEST")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", wheels, source], check=True)
    (wheel,) = wheels.glob("moganet-*.whl")
    assert wheel.stat().st_size < LIMIT
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    from PIL import Image

    Image.new("L", (8, 8), 128).save(tmp_path / "x.png")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "MOGANET_CACHE": str(tmp_path / "cache")}

    def run(*words):
        line = [sys.executable, "-m", "moganet", *words]
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert "x.png" in run("predict", "moganet_nano.digits", "x.png")
    run("train", "digits", "--out", "run", "--set", "trainer.max_steps=2", "--set", "trainer.max_epochs=1")
    run("report", "run")
    assert (tmp_path / "run" / "report.html").is_file()

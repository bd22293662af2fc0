"""What the storefront is made of: small, its own, nothing inside the markup, and in the wheel too."""

import re
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "pipelines/serving/storefront"
SERVED = sorted(path for path in FOLDER.iterdir() if path.suffix != ".md")
MODULES = [path for path in SERVED if path.suffix == ".js"]
MOST_BYTES = 110_000
"""Of the whole page, before compression."""


def test_page_is_small() -> None:
    assert sum(path.stat().st_size for path in SERVED) < MOST_BYTES


def test_readme_names_every_part_and_no_other() -> None:
    told = set(re.findall(r"`(\w+\.(?:js|css|html))`", (FOLDER / "README.md").read_text()))
    assert told == {path.name for path in SERVED if path.suffix != ".svg"}


@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.name)
def test_part_names_no_other_host_and_writes_no_markup(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"https?://[^\"' ]+", text) in ([], ["http://www.w3.org/2000/svg"])
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        " style=",
        "javascript:",
    ):
        assert forbidden not in text
    if path.suffix == ".html":
        assert re.findall(r"<script[^>]*>[^<]+", text) == re.findall(r"<style| on\w+=", text) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_module_imports_what_others_export_and_uses_it(path: Path) -> None:
    text = path.read_text()
    for names, source in re.findall(r'import \{ ([^}]+) \} from "\./([\w.]+)"', text):
        exported = set(re.findall(r"export (?:async )?(?:function|class|const) (\w+)", (FOLDER / source).read_text()))
        for each in names.split(", "):
            name, _, alias = each.partition(" as ")
            assert name in exported, f"{source} has no {name}"
            assert len(re.findall(rf"\b{alias or name}\b", text)) > 1, f"{path.name} does not use {name}"


def test_wheel_holds_the_page(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    held = {name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "/storefront/" in name}
    assert held >= {path.name for path in SERVED}

"""The page of a comparison: whole, valid, readable by everyone, and with nothing from elsewhere."""

import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.table import Table
from matplotlib.text import Text
from PIL import Image

from fcn_jax.reports import figures
from fcn_jax.reports.bands import band_scores
from fcn_jax.reports.page import make_page
from fcn_jax.reports.page_style import FIGURE_COLORS, RUN_COLORS, STYLE
from fcn_jax.reports.paper import make_pages
from fcn_jax.reports.runs import group_runs, read_run, shorten_names
from fcn_jax.reports.svg import to_svg
from tests.commands.conftest import make_comparison, write_run

VOID_ELEMENTS = {"meta", "link", "img", "wbr", "br"}


class Reader(HTMLParser):
    """Reads a page, and finds that every element is closed where it should be."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def find(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of three groups, one of two seeds, with classes of difficult names."""
    folder, runs = tmp_path_factory.mktemp("page"), []
    for stride, seed in ((32, 0), (8, 0), (8, 1)):
        name = f"fcn{stride}s_seed{seed}"
        run = write_run(folder / name, stride=stride, seed=seed, num_steps=100, has_images=True)
        runs.append(read_run(run, name=name, split="val", step="last"))
        for evaluation in runs[-1].evaluations.values():
            evaluation["class_names"][:2] = ["<b>&", '"']
    groups = group_runs(runs)
    # street1 is shown among the images on which they differ.
    of = make_comparison(groups, title="<script>", ids=["street0"], multiply_adds=[2 * 10**9, None])
    text = make_page(of)
    return text, Reader(text)


def test_page_is_whole_and_loads_nothing(page):
    text, found = page
    assert text.startswith("<!DOCTYPE html>") and found.find("html") == [{"lang": "en"}]
    assert not found.find("script") and "@import" not in text
    for _, attrs in found.elements:
        for key in ("src", "href", "xlink:href", "srcset"):
            assert attrs.get(key, "#").startswith(("#", "data:")), attrs
    addresses = set(re.findall(r"https?://[^\s\"<]*", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_and_every_reference_has_its_target(page):
    _, found = page
    ids = Counter(attrs["id"] for _, attrs in found.elements if "id" in attrs)
    assert max(ids.values()) == 1
    links = {a["href"][1:] for _, a in found.elements if a.get("href", "").startswith("#")}
    labels = {attrs["aria-labelledby"] for attrs in found.find("section")}
    assert links | labels <= set(ids)


def test_everything_is_said_in_words(page):
    _, found = page
    images = found.find("img")
    assert len(images) == 2 * (2 + 2 * 2) and all(attrs["alt"] for attrs in images)
    assert all(attrs.get("scope") in ("col", "row") for attrs in found.find("th"))
    assert len(found.find("caption")) == len(found.find("table")) > 5
    svgs = found.find("svg")
    assert len(found.find("title")) == len(svgs) + 1 and {a["role"] for a in svgs} == {"img"}


def test_names_are_text(page):
    text, found = page
    assert "<script" not in text and "<b>" not in text
    assert "<b>&" in found.texts and "<script>" in found.texts


def test_page_says_what_the_runs_say(page):
    text, found = page
    words = " ".join(found.texts)
    for said in ("over images and seeds", "Mean IoU near boundaries", "2.00 G", "wrong", "void"):
        assert said in words or said in text
    assert "fcn8s against" in words.replace("\n", " ")
    assert "fcn32s_seed0: experiment" in words


def test_figures_take_the_colours_of_the_page(page):
    text, _ = page
    assert not set(re.findall(r"#[0-9a-f]{6}\b", text.split("<body>")[1])) & set(FIGURE_COLORS)


def luminance(color: str) -> float:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_lines_stand_out_from_the_page(theme):
    """WCAG 2.2: text 4.5 to 1, what figures draw 3 to 1; a pale colour has a marker as well."""
    light, dark = (
        dict(re.findall(r"--([\w-]+):(#\w{6})", part)) for part in STYLE.split("@media")[:2]
    )
    colors = (light, {**light, **dark})[theme]

    def contrast(color: str, on: str) -> float:
        pair = sorted((luminance(color), luminance(on)))
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    for on in ("paper", "card"):
        assert all(contrast(colors[of], colors[on]) >= 4.5 for of in ("ink", "soft", "link"))
    assert contrast(colors["warn-ink"], colors["warn"]) >= 4.5
    runs = [contrast(colors[f"run-{i}"], colors["paper"]) for i in range(len(RUN_COLORS))]
    assert sorted(runs)[2] >= 3 and min(runs) > 2


def test_numbers_of_a_figure_are_whole():
    figure, axes = figures._panel(2.0)
    axes.set_xticks([0.123456], ["0.123456"])
    svg = to_svg(figure, name="a", title="<t>", colors={})
    assert "0.123456" in svg and "<title>&lt;t&gt;</title>" in svg


def test_common_beginnings_of_names_are_left_out(make_run, read):
    def names(*given):
        runs = [read(make_run(name, stride=2**i)) for i, name in enumerate(given, 2)]
        groups, prefix = shorten_names(group_runs(runs))
        return [group.name for group in groups], prefix

    assert names("my_data_fcn8s", "my_data_deeplab") == (["fcn8s", "deeplab"], "my_data_")
    assert names("a_one", "a_two") == (["a_one", "a_two"], "")


def test_bands_are_those_of_the_counts(make_run, read):
    (group,) = group_runs([read(make_run("a", has_images=True))])
    assert band_scores(group)[4] == pytest.approx(group.first.boundary_iou, abs=1e-12)
    (old,) = group_runs([read(make_run("b"))])
    assert band_scores(old) is None


def test_pdf_has_tables_and_figures(make_run, read):
    runs = [read(make_run(f"fcn{s}s", stride=s, has_images=True, num_steps=100)) for s in (32, 8)]
    pages = list(make_pages(make_comparison(group_runs(runs), ids=["street0"])))
    texts = [text.get_text() for page in pages for text in page.findobj(Text)]
    tables = [table for page in pages for table in page.findobj(Table)]
    texts += [cell.get_text().get_text() for of in tables for cell in of.get_celld().values()]
    for said in ("Scores", "Configs", "Training loss", "over images", "fcn32s", "truth"):
        assert said in texts
    assert len(pages) > 12


def test_images_are_chosen_and_a_pdf_is_asked_for(launch, make_run, tmp_path, monkeypatch):
    monkeypatch.setattr("fcn_jax.reports.page.make_page", lambda of: "")
    asked = []
    monkeypatch.setattr(
        "fcn_jax.reports.paper.make_pages", lambda of: asked.append(of.ids) or [Figure()]
    )
    run, output = make_run("fcn8s", num_steps=100), f"--output={tmp_path / 'report'}"
    code, out, _ = launch("compare", run, output, "--images=street1", "--format=pdf")
    assert code == 0 and "report.pdf" in out and asked == [["street1"]]
    assert (tmp_path / "report" / "report.pdf").read_bytes().startswith(b"%PDF")
    code, _, err = launch("compare", run, output, "--images=street1,street9")
    assert code == 2 and "'street9' is not among the samples of all runs; there are: street0" in err


def test_files_beside_run_folders_are_left_out(launch, make_run, tmp_path, monkeypatch):
    monkeypatch.setattr("fcn_jax.reports.page.make_page", lambda of: "")
    run = make_run("fcn8s", num_samples=0, num_steps=100)
    picture = tmp_path / "runs" / "picture.png"
    Image.new("L", (1, 1)).save(picture)
    code, _, err = launch("compare", run, picture, f"--output={tmp_path / 'report'}")
    assert code == 0 and f"{picture} is a file and no run folder; left out" in err

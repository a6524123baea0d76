"""The pages as a reader has them: in Chromium, light and dark, wide and narrow, with axe-core."""

import argparse
import json
import os
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from browser import Browser, executable
from leadline.cli.parser import add_reproduce
from leadline.papers import reproduce
from leadline.report.write import write_report
from records import write_manifest, write_pretraining, write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(executable() is None, reason="needs Chromium or Chrome"),
]
SIZES, SCHEMES = (1280, 400), ("light", "dark")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Write the report of real and made-up runs, and the page of reproduce."""
    top = tmp_path_factory.mktemp("pages")
    real, made = top / "real runs", top / "runs"
    real_study(real)
    made_up_study(made)
    parser = argparse.ArgumentParser()
    add_reproduce(parser)
    reproduce.reproduce(parser.parse_args(["--out", str(top / "reproduce")]))
    return {
        "real": write_report(real, top / "real"),
        "made up": write_report(made, top / "report"),
        "reproduce": top / "reproduce" / "index.html",
    }


def real_study(runs):
    """Run every quick model on the embedded cells, as `leadline ablate own_data` would."""
    from leadline.config.compose import compose
    from leadline.runs.run import run

    models = ("logreg", "mlp", "nearest_centroid", "majority")
    made = []
    for model in models:
        for fraction in (1.0, 0.25):
            for seed in (1, 2):
                words = [f"model={model}", f"data.fraction={fraction}", f"seed={seed}"]
                folder = run(compose([*words, f"runs_dir={runs}", "train.threads=1"]))
                made.append((folder.name, model))
    write_manifest(
        runs,
        "own_data",
        {model: None if model == "logreg" else "logreg" for model in models},
        made,
        reference="logreg",
        question="Is logistic regression enough?",
    )


def made_up_study(runs):
    """Write what real runs seldom have at once: modes, collapses, failures, pre-training."""
    made = []
    for arm, low in (("reference", 0), ("no_pretraining", 4), ("<b>odd</b> arm", 0)):
        for seed in range(1, 9):
            accuracy = 0.62 if seed <= low else 0.78 + seed / 400
            run_id = write_run(runs, arm=arm, seed=seed, accuracy=accuracy, epochs=6)
            made.append((run_id, arm))
    crashed = write_run(runs, arm="reference", seed=9, done=False, error="Trace\nOSError: <i>full")
    made += [
        (crashed, "reference"),
        ("not-there", "reference"),
        (write_pretraining(runs), "corpus"),
    ]
    against = {"reference": None, "no_pretraining": "reference", "<b>odd</b> arm": "reference"}
    write_manifest(runs, "modes", against, made, question="Does it <script>alert(1)</script>?")
    write_run(runs, arm="alone", model="mlp", accuracy=0.5)


@pytest.mark.parametrize("name", ["real", "made up", "reproduce"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", SIZES)
def test_a_page_is_quiet_and_fits(browser, pages, name, scheme, width):
    browser.size(width)
    browser.scheme(scheme)
    browser.open(pages[name])
    assert browser.complaints() == [] and browser.requests() == []
    fits = browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert fits, "the page scrolls sideways"
    kept = os.environ.get("LEADLINE_SCREENSHOTS")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        browser.picture(Path(kept) / f"{name}-{scheme}-{width}.png")


@pytest.mark.parametrize("name", ["real", "made up", "reproduce"])
@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 400)])
def test_a_page_is_accessible(browser, pages, name, scheme, width):
    browser.size(width)
    browser.scheme(scheme)
    browser.open(pages[name])
    assert serious(browser) == []


def serious(browser):
    """Ask axe-core for violations that keep people out.

    A drawing is looked at as a whole, the thousands of strokes inside it are not: each would cost
    as much time as a paragraph.
    """
    package = pytest.importorskip("axe_core_python", reason="needs axe-core-python")
    browser.run(Path(package.__file__).with_name("axe.min.js").read_text(encoding="utf-8") + ";0")
    asked = "{exclude: [['svg > *']]}, {resultTypes: ['violations']}"
    found = browser.run(f"axe.run({asked}).then(r => JSON.stringify(r.violations))")
    return [
        (each["id"], each["impact"], [node["html"][:120] for node in each["nodes"]][:3])
        for each in json.loads(found)
        if each["impact"] in ("serious", "critical")
    ]


def test_dark_is_dark_and_print_is_not(browser, pages, tmp_path):
    for scheme, dark in (("light", False), ("dark", True)):
        browser.scheme(scheme)
        browser.open(pages["made up"])
        colour = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        assert (sum(browser.run(colour)) < 128) is dark
    ink = "getComputedStyle(document.querySelector('figure svg [class^=k]')).fill"
    assert browser.run(ink)
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_tables_sort_by_number_and_by_keyboard(browser, pages):
    browser.size(1280)
    browser.open(pages["real"])
    browser.run(
        "window.runs = [...document.querySelectorAll('table.data')].find("
        "t => t.tHead.textContent.includes('seconds'));"
        "window.heads = [...runs.tHead.rows[0].cells].map(c => c.textContent);"
        "window.at = heads.indexOf('seconds');"
        "window.column = () => [...runs.tBodies[0].rows]"
        ".map(r => Number(r.cells[at].textContent.replaceAll(',', '')))"
    )
    browser.run("runs.tHead.rows[0].cells[at].querySelector('button').click()")
    rising = browser.run("column()")
    assert rising == sorted(rising) and len(rising) == 16
    assert browser.run("runs.tHead.rows[0].cells[at].getAttribute('aria-sort')") == "ascending"
    browser.run("runs.tHead.rows[0].cells[at].querySelector('button').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.tell("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                     windowsVirtualKeyCode=13)  # fmt: skip
    assert browser.run("column()") == rising[::-1]


def test_tables_filter(browser, pages):
    browser.open(pages["real"])
    browser.run(
        "window.field = [...document.querySelectorAll('.filter input')].find("
        "i => i.getAttribute('aria-label').endsWith('of Runs'));"
        "field.value = 'MLP 25%'; field.dispatchEvent(new Event('input'))"
    )
    assert browser.run("field.closest('.filter').querySelector('output').textContent") == (
        "2 of 16 rows"
    )
    shown = browser.run(
        "[...field.closest('.filter').nextElementSibling.querySelectorAll('tbody tr')]"
        ".filter(r => r.getClientRects().length).map(r => r.textContent)"
    )
    assert len(shown) == 2 and all("mlp" in row and "25%" in row for row in shown)


def test_every_figure_is_there_and_every_link_resolves(browser, pages):
    for name, least in (("real", 8), ("made up", 9), ("reproduce", 5)):
        browser.size(1280)
        browser.open(pages[name])
        drawn = browser.run(
            "[...document.querySelectorAll('figure')].map(f => {"
            "const box = f.querySelector('.broad svg').getBoundingClientRect();"
            "return [f.id, box.width, box.height]})"
        )
        assert len(drawn) >= least, name
        assert all(width > 300 and height > 50 for _, width, height in drawn), name
        links = browser.run("[...document.querySelectorAll('a[href]')].map(a => a.href)")
        assert links
        for link in links:
            place = urlparse(link)
            assert place.scheme == "file", link
            assert Path(unquote(place.path)).exists(), link
            if place.fragment:
                assert browser.run(f"!!document.getElementById({place.fragment!r})"), link


def test_names_from_data_are_text(browser, pages):
    browser.open(pages["made up"])
    text = browser.run("document.body.textContent")
    assert "<script>alert(1)</script>" in text and "<b>odd</b> arm" in text
    assert "OSError: <i>full" in text
    assert browser.run("document.querySelectorAll('main b, main i, main script').length") == 0

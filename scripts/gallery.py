"""The pictures of README.md and docs/gallery.md, of a page: python scripts/gallery.py PAGE FOLDER.

The first screen of the page as report.png, and three of its figures, small enough for a checkout.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FIGURES = {"answer": "estimation", "where": "where", "confusion": "confusion"}
SCREEN, WIDTH, COLOURS = (1280, 900), 900, 256


def shot(browser, address, size, out):
    """Photograph a window of so many pixels."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "shot.png"
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        words += [f"--user-data-dir={folder}/user", f"--window-size={size[0]},{size[1]}"]
        words += [f"--screenshot={drawn}", address]
        subprocess.run([browser, *words], check=True, capture_output=True)
        picture = Image.open(drawn).convert("RGB")
        picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            out, optimize=True
        )


def figure_page(svg, folder):
    """Put a drawing on a white page of its own size; give both."""
    box = svg.read_text(encoding="utf-8").split('viewBox="0 0 ')[1].split('"')[0]
    width, height = map(float, box.split())
    size = (WIDTH, round(WIDTH * height / width))
    page = Path(folder) / "figure.html"
    image = f'<img src="{svg.resolve().as_uri()}" width="{WIDTH}">'
    page.write_text(f'<body style="margin:0">{image}')
    return page.as_uri(), size


def main(page, out):
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        sys.exit(f"pictures need one of {', '.join(NAMES)}")
    page, out = Path(page), Path(out)
    shot(browser, page.resolve().as_uri(), SCREEN, out / "report.png")
    for name, figure in FIGURES.items():
        (svg,) = (page.parent / "figures").glob(f"*_{figure}.svg")
        with tempfile.TemporaryDirectory() as folder:
            shot(browser, *figure_page(svg, folder), out / f"figure_{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])

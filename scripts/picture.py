"""A picture of a report, as README.md shows it: python scripts/picture.py PAGE OUT.png.

The top of the page and its first figures; the tables between them are left out.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LEFT_OUT = "<style>#comparisons, #mcnemar, #flags { display: none }</style></head>"
WIDTH, HEIGHT, COLOURS = 1240, 1700, 256


def main(page, out):
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        sys.exit(f"a picture needs one of {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory() as folder:
        copy, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        copy.write_text(Path(page).read_text().replace("</head>", LEFT_OUT, 1))
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        words += [f"--user-data-dir={folder}/user", f"--window-size={WIDTH},{HEIGHT}"]
        words += [f"--screenshot={shot}", copy.as_uri()]
        subprocess.run([browser, *words], check=True, capture_output=True)
        drawn = Image.open(shot).convert("RGB")
        drawn.quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

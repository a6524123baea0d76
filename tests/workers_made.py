"""Workers for tests, made from the skeleton that `leadline worker new` writes."""

import sys
from pathlib import Path

from leadline.config import ExternalConfig
from leadline.models.external import exchange as exchanges

TEMPLATE = Path(exchanges.__file__).with_name("worker_template.txt")
PRETRAINED = 'unsupported("NAME has no pretrained weights")'


def write_worker(folder, name="mine.py", **changes):
    """Write a worker with pretrained weights; `changes` are pieces of text, old → new."""
    known = "numbers = [zlib.crc32(gene.encode()) % 999 for gene in genes]\n        "
    known += "return np.sin(np.outer(numbers, np.arange(8) + 1))"
    text = TEMPLATE.read_text().replace(PRETRAINED, known)
    for old, new in changes.get("replace", ()):
        assert old in text, old
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path


def exchange_with(path, *, grace=1.0, cache=None, log=lambda text: None, **settings):
    """Give what asks a worker in this interpreter."""
    config = ExternalConfig(name="mine", worker=str(path), python=sys.executable, **settings)
    return exchanges.Exchange(config, cache=cache, grace=grace, log=log)

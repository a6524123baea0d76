"""Which cells are in another collection too, such as the corpus that a model was pretrained on.

Shapes: C cells, B cells of one block, G genes of a file, S genes that both sides have, N stored
values, H hash functions.
"""

from leadline.data.overlap.compare import CellOverlap, Comparison, compare
from leadline.data.overlap.corpus import CellCorpus, CorpusFile, corpus_files
from leadline.data.overlap.target import TargetCells, read_target

__all__ = [
    "CellCorpus",
    "CellOverlap",
    "Comparison",
    "CorpusFile",
    "TargetCells",
    "compare",
    "corpus_files",
    "read_target",
]

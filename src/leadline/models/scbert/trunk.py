"""What the frozen blocks at the beginning give for a cell: computed once, then read from disk.

It follows from the tokens of the cell, the frozen weights and the projections alone. So seeds that
start from the same weights share it until their projections are first drawn anew, and each has
its own from then on. A cell is a file; the system keeps in memory what is read often.

Legend: B cells of a micro-batch, N positions, D width.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from leadline import files
from leadline.data import array_cache
from leadline.progress import say

# Goes up when the same weights and tokens would give other bits.
VERSION = 1


class StoredTrunk:
    """Encodings of cells in a folder that never grows beyond its budget of bytes.

    What has not been read since this process began makes room, the longest unread first. Once
    all that is there is of use, nothing more is kept: who needs everything again and again, and
    more than fits, gains from the part that stays.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder, self.budget, self.began = folder, budget, time.time()
        self.room: int | None = None
        self.place, self.mark = folder, tuple[tuple[int, int], ...]()

    def encodings(
        self,
        tokens_BN: Tensor,
        frozen: Sequence[Tensor],
        how: str,
        compute: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Give encodings_BND after the frozen blocks; `compute` makes what is not stored.

        `frozen` is all that they are made of, and `how` what else decides their bits.
        """
        mark = tuple((tensor.data_ptr(), tensor._version) for tensor in frozen)
        if mark != self.mark:
            machine = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
            words = [str(VERSION), torch.__version__, *machine, str(torch.get_num_threads()), how]
            arrays = [tensor.detach().numpy() for tensor in frozen]
            self.place, self.mark = self.folder / array_cache.digest(words, *arrays), mark
        rows = tokens_BN.to(torch.uint8).numpy()
        names = [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in rows]
        cells = [self.place / name for name in names]
        x_BND = torch.empty(*tokens_BN.shape, frozen[0].shape[-1])
        missing = [k for k, path in enumerate(cells) if not read(path, x_BND[k])]
        if missing:
            made = compute(tokens_BN[missing])
            x_BND[missing] = made
            for k, x_ND in zip(missing, made, strict=True):
                self.keep(cells[k], x_ND)
        return x_BND

    def keep(self, path: Path, x_ND: Tensor) -> None:
        """Write one cell, if there is room."""
        size = x_ND.numel() * x_ND.element_size()
        if self.room is None or 0 <= self.room < size:
            self.room = self.make_room(size)
        if self.room < size:
            return
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            files.write_bytes(path, x_ND.contiguous().numpy().tobytes())
            self.room -= size
        except OSError as error:
            if error.errno not in array_cache.UNWRITABLE:
                raise
            say(f"what frozen blocks give is not kept: {self.place} ({error.strerror})")
            self.room = -1

    def make_room(self, wanted: int) -> int:
        """Delete what nobody has read for longest; give the bytes that are free then.

        A negative number says that looking again is of no use.
        """
        kept = []
        for path in self.folder.glob("*/*"):
            try:
                found = path.stat()
            except FileNotFoundError:  # Another process makes room too.
                continue
            kept.append((found.st_mtime, found.st_size, path))
        room = self.budget - sum(size for _, size, _ in kept)
        for read_last, size, path in sorted(kept):
            if room >= wanted or read_last >= self.began:
                break
            path.unlink(missing_ok=True)
            room += size
        return room if room >= wanted else -1


def read(path: Path, into_ND: Tensor) -> bool:
    """Read a cell; say whether it was there, and whole."""
    room = into_ND.numpy().data.cast("B")
    try:
        with open(path, "rb", buffering=0) as file:
            whole = file.readinto(room) == len(room) and not file.read(1)
        os.utime(path)
    except FileNotFoundError:
        return False
    return whole

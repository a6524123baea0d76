"""One worker per folder: living locks are respected, dead ones taken over, by one only."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from leadline import locks


def write_lock(folder, **owner):
    (folder / locks.NAME).write_text(json.dumps({"token": "theirs", **owner}))


def dead_process():
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    return int(done.stdout)


def test_a_held_lock_turns_others_away_and_is_gone_afterwards(tmp_path):
    with locks.hold(tmp_path):
        with pytest.raises(locks.Busy, match=f"process {os.getpid()} on {socket.gethostname()}"):
            locks.Lock(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    write_lock(tmp_path, host=socket.gethostname(), pid=dead_process(), started="boot/1")
    with locks.hold(tmp_path) as held:
        assert locks.read(tmp_path / locks.NAME)["token"] == held.token
    assert list(tmp_path.iterdir()) == []


def test_a_reused_process_id_is_not_taken_for_the_owner(tmp_path):
    write_lock(tmp_path, host=socket.gethostname(), pid=os.getpid(), started="other boot/1")
    with locks.hold(tmp_path) as held:
        assert locks.read(tmp_path / locks.NAME)["token"] == held.token


def test_a_dead_owner_is_noticed_where_start_times_are_unknown(tmp_path):
    write_lock(tmp_path, host=socket.gethostname(), pid=dead_process(), started=None)
    with locks.hold(tmp_path):
        pass
    write_lock(tmp_path, host=socket.gethostname(), pid=os.getpid(), started=None)
    with pytest.raises(locks.Busy):
        locks.Lock(tmp_path).acquire()


def test_a_lock_of_another_machine_counts_until_it_falls_silent(tmp_path):
    write_lock(tmp_path, host="another", pid=1, started="x/1")
    with pytest.raises(locks.Busy, match="process 1 on another"):
        locks.Lock(tmp_path).acquire()
    long_ago = time.time() - locks.STALE_SECONDS - 60
    os.utime(tmp_path / locks.NAME, (long_ago, long_ago))
    with locks.hold(tmp_path):
        pass


def test_a_garbled_lock_counts_until_it_falls_silent(tmp_path):
    (tmp_path / locks.NAME).write_text("{")
    with pytest.raises(locks.Busy):
        locks.Lock(tmp_path).acquire()
    os.utime(tmp_path / locks.NAME, (0, 0))
    with locks.hold(tmp_path):
        pass


def test_the_owner_keeps_its_lock_fresh(tmp_path):
    class OneBeat:
        waits = iter([False, True])

        def wait(self, seconds):
            return next(self.waits)

    with locks.hold(tmp_path) as held:
        os.utime(tmp_path / locks.NAME, (0, 0))
        held.beat(OneBeat())
        assert (tmp_path / locks.NAME).stat().st_mtime > 0


def test_a_lost_lock_is_noticed_and_the_new_owner_keeps_it(tmp_path):
    with locks.hold(tmp_path) as held:
        write_lock(tmp_path, host="another", pid=1)
        with pytest.raises(locks.LockLost):
            held.check()
    assert locks.read(tmp_path / locks.NAME)["host"] == "another"


def dead(folder, name, token):
    owner = {"token": token, "host": socket.gethostname(), "pid": dead_process(), "started": "b/1"}
    (folder / name).write_text(json.dumps(owner))
    return owner


def test_who_comes_late_leaves_the_lock_of_the_first(tmp_path):
    """Between looking and taking over, another worker may have been faster, or even be done."""
    stale = dead(tmp_path, locks.NAME, "first")
    with locks.hold(tmp_path) as held:
        before = held.path.stat().st_ino
        assert not locks.Lock(tmp_path)._take_over(stale)
        # Were it moved for a moment only, its owner might find nothing to release just then.
        assert held.path.stat().st_ino == before
        held.check()
    assert not locks.Lock(tmp_path)._take_over(stale)
    assert list(tmp_path.iterdir()) == []


def test_takers_wait_for_one_another_and_look_again(tmp_path):
    stale = dead(tmp_path, locks.NAME, "first")
    found = []
    with open(tmp_path / locks.NAME, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        late = threading.Thread(target=lambda: found.append(locks.Lock(tmp_path)._take_over(stale)))
        late.start()
        dead(tmp_path, "new", "second")
        os.replace(tmp_path / "new", tmp_path / locks.NAME)
    late.join()
    assert found == [False] and locks.read(tmp_path / locks.NAME)["token"] == "second"


def test_without_locks_of_the_file_system_a_dead_owner_is_replaced_all_the_same(
    tmp_path, monkeypatch
):
    dead(tmp_path, locks.NAME, "first")

    def refused(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with locks.hold(tmp_path) as held:
        held.check()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_holder_tidied_away_is_written_again(tmp_path, monkeypatch):
    link, calls = os.link, []

    def swept(source, target):
        calls.append(source)
        if len(calls) == 1:
            Path(source).unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", swept)
    with locks.hold(tmp_path) as held:
        held.check()
    assert len(calls) == 2 and list(tmp_path.iterdir()) == []


def test_many_takers_of_one_stale_lock_work_one_at_a_time(tmp_path):
    write_lock(tmp_path, host=socket.gethostname(), pid=dead_process(), started="boot/1")
    inside, most, turns = [], [], []

    def worker():
        while True:
            try:
                with locks.hold(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    turns.append(1)
                    return
            except locks.Busy:
                continue

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(turns) == 8
    assert list(tmp_path.iterdir()) == []

"""Records → frame → page: complete, verified, escaped."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from leadline import cli, record, results
from leadline.errors import UserError
from leadline.record import Predictions
from leadline.report import write_report
from leadline.tidy import COLUMNS


def facts_of(run_id, arm="logreg", seed=1, accuracy=0.5, **changes):
    scores = dict.fromkeys(("macro_f1", "balanced_accuracy", "log_loss", "calibration_error"), 0.25)
    return {
        "run_id": run_id,
        "study": None,
        "arm": arm,
        "model": arm,
        "dataset": "cells",
        "fraction": 1.0,
        "seed": seed,
        "protocol": {"name": "corrected"},
        "metrics": {"test": {"accuracy": accuracy, **scores}},
        "warnings": [],
        "data": {"fingerprint": "f" * 64},
        "provenance": {
            "leadline": "0",
            "git_commit": None,
            "git_dirty": None,
            "python": "3",
            "packages": {},
        },
        "cost": {"wall_seconds": 1.0},
    } | changes


def write_record(runs, facts, *, done=True):
    one = np.zeros(1, dtype=np.int32)
    said = Predictions(
        ids=np.array(["c"]), truth_C=one, predicted_C=one, proba_CK=np.ones((1, 1), np.float16)
    )
    with record.open_record(runs / facts["run_id"]) as opened:
        opened.write_config({})
        opened.write_predictions({"test": said}, ["x"])
        opened.write_facts(facts)
        if done:
            opened.finish()
        else:
            opened.fail("Traceback\nValueError: <b>broken</b>")


class Text(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def page_of(tmp_path):
    return Text(write_report(tmp_path / "runs", tmp_path / "out").read_text())


def test_the_frame_is_tidy_and_holds_finished_runs_only(tmp_path):
    write_record(tmp_path, facts_of("a", accuracy=0.75))
    write_record(tmp_path, facts_of("b", accuracy=0.1), done=False)
    frame = results.frame(results.read_done(tmp_path))
    assert list(frame.columns) == list(COLUMNS)
    assert set(frame.run_id) == {"a"} and len(frame) == 5
    row = frame[frame.metric == "accuracy"].iloc[0]
    assert (row.value, row.split, row.arm, row.precision) == (0.75, "test", "logreg", "full")


def test_a_record_that_was_changed_is_refused(tmp_path):
    write_record(tmp_path, facts_of("a"))
    path = tmp_path / "a" / record.FACTS
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(UserError, match="finished record must not change: got record.json"):
        results.read_done(tmp_path)


def test_the_page_names_the_best_model_and_its_mean(tmp_path):
    for seed, accuracy in ((1, 0.75), (2, 0.5)):
        write_record(tmp_path / "runs", facts_of(f"a{seed}", seed=seed, accuracy=accuracy))
        write_record(tmp_path / "runs", facts_of(f"m{seed}", arm="majority", seed=seed))
    page = page_of(tmp_path)
    assert "the highest mean accuracy is 0.625, by logreg (2 runs; 2 models" in page.text


def test_everything_from_data_is_escaped(tmp_path):
    nasty = "<script>alert(1)</script>"
    write_record(tmp_path / "runs", facts_of("a", dataset=nasty, warnings=[nasty]))
    write_record(tmp_path / "runs", facts_of("b"), done=False)
    page = page_of(tmp_path)
    assert "script" not in page.tags and "b" in page.tags
    assert page.text.count(nasty) >= 3
    assert "ValueError: <b>broken</b>" in page.text


def test_the_page_needs_no_network(tmp_path):
    write_record(tmp_path / "runs", facts_of("a"))
    text = write_report(tmp_path / "runs", tmp_path / "out").read_text()
    assert "http" not in text and "src=" not in text


def test_the_command_prints_the_path_of_the_page_last(tmp_path, capsys):
    write_record(tmp_path / "runs", facts_of("a"))
    words = ["report", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert cli.main(words) == cli.GOOD
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "index.html")


def test_nothing_to_report_is_explained(tmp_path, capsys):
    assert cli.main(["report", "--runs", str(tmp_path / "none")]) == cli.MISTAKE
    assert "--runs must be a folder of records" in capsys.readouterr().err
    write_record(tmp_path, facts_of("b"), done=False)
    assert cli.main(["report", "--runs", str(tmp_path)]) == cli.MISTAKE
    assert "got 1 runs" in capsys.readouterr().err


def test_records_are_json_that_others_can_read(tmp_path):
    write_record(tmp_path, facts_of("a"))
    assert json.loads((tmp_path / "a" / record.FACTS).read_text())["schema_version"] == 1

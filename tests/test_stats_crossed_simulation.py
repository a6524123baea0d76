"""Error rates of the crossed test on simulated studies; the precise version is `slow`."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from leadline.stats.crossed import judge

SCRIPT = Path(__file__).parents[1] / "scripts" / "calibration.py"
STUDIES = [pytest.param(40, id="quick"), pytest.param(1000, id="full", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def calibration():
    import sys

    spec = importlib.util.spec_from_file_location("crossed_calibration", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def slack(rate, studies):
    return 4 * np.sqrt(rate * (1 - rate) / studies)


@pytest.mark.parametrize("studies", STUDIES)
def test_errors_stay_within_their_level(calibration, studies):
    for setting in calibration.SETTINGS:
        (said,) = calibration.rates({"crossed": judge}, setting, studies, 1).values()
        assert said["false"] <= 0.05 + slack(0.05, studies), setting.name
        assert said["covered"] >= 0.94 - slack(0.05, studies), setting.name
        if setting.lead:
            assert said["equivalent"] <= 0.05 + slack(0.05, studies), setting.name


@pytest.mark.parametrize("studies", STUDIES)
def test_runs_alone_do_not_speak_for_fresh_cells(calibration, studies):
    (setting,) = [x for x in calibration.SETTINGS if x.name == "equal, 10 runs"]
    (said,) = calibration.rates({"welch": calibration.welch}, setting, studies, 2).values()
    assert said["false"] > 0.08


def test_table(calibration, capsys):
    calibration.main(["--studies", "2", "--only", "no luck"])
    assert "| equal, no luck, 140 cells | judge |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "studies", [pytest.param(60, id="quick"), pytest.param(1000, id="full", marks=pytest.mark.slow)]
)
def test_adding_seeds_by_either_rule_keeps_the_error_rate(calibration, studies):
    chosen = calibration.LOOKED_AT if studies > 60 else calibration.LOOKED_AT[1:4:2]
    naive = []
    for setting in chosen:
        said = calibration.rates_of_rules(setting, studies, 4)
        for rule in ("decided", "precise"):
            assert said[rule]["false"] <= 0.05 + slack(0.05, studies), (setting.name, rule)
            assert said[rule]["covered"] >= 0.94 - slack(0.05, studies), (setting.name, rule)
        naive.append(said["p < .05"]["false"])
        if setting.lead:
            assert said["decided"]["found"] > 0.5 and said["decided"]["seeds"] < 20
    # Looking after every seed errs more; a quick look sees so only where it is gross.
    assert max(naive) > (0.07 if studies > 60 else 0.0)


def test_the_table_of_looks(calibration, capsys):
    calibration.main(["looks", "--studies", "2", "--only", "140"])
    assert "| equal, 140 cells | decided |" in capsys.readouterr().out

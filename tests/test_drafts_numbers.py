"""Every number of a sentence with its kind and rounding; what only looks like one is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.papers.drafts.numbers import mentions, number_of_cell, numbers_in


def kinds(text):
    return [(each.kind, each.value) for each in numbers_in(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.766 ± 0.013 over runs", [("mean", 0.766), ("spread", 0.013)]),
        ("0.85 ± 0.02 (SD)", [("mean", 0.85), ("sd", 0.02)]),
        ("0.766 ± 0.013 (95% CI)", [("mean", 0.766), ("half_width", 0.013), ("level", 95)]),
        ("a mean of 0.71 (95% CI: 0.65 to 0.77)",
         [("mean", 0.71), ("level", 95), ("interval", 0.65), ("interval", 0.77)]),
        ("about 53.1 [49.0; 57.2] points", [("mean", 53.1), ("interval", 49), ("interval", 57.2)]),
        ("it was 0.5 (0.4–0.6)", [("mean", 0.5), ("interval", 0.4), ("interval", 0.6)]),
        ("CI [0.1, 0.5]", [("interval", 0.1), ("interval", 0.5)]),
        ("p < 10^{−3}", [("p", 0.001)]),
        ("p < 10⁻³", [("p", 0.001)]),
        ("p < 10−3 in all", [("p", 0.001)]),
        ("p = 3.67 × 10−3 and 8.72 × 10−4, respectively", [("p", 0.00367), ("p", 0.000872)]),
        ("P-value of .034", [("p", 0.034)]),
        ("t(18) = 2.31, p = .034", [("statistic", 2.31), ("p", 0.034)]),
        ("n = 1,204", [("n", 1204)]),
        ("17 of 20 folds", [("count", 17), ("n", 20)]),
        ("99.8% of the 67,880 cells", [("percent", 99.8), ("n", 67880)]),
        ("from 51,342,358 to 19,999,766", [("count", 51342358), ("count", 19999766)]),
        ("1.12 million human cells", [("count", 1.12e6)]),
        ("33M cells", [("count", 33e6)]),
        ("10–20%", [("percent", 10), ("percent", 20)]),
        ("between 0.2 and 0.4", [("range", 0.2), ("range", 0.4)]),
        ("−0.3 to 0.2", [("range", -0.3), ("range", 0.2)]),
        ("0.5 - 0.7", [("range", 0.5), ("range", 0.7)]),
        ("a rate of 1 × 10−4 for 10 epochs", [("value", 1e-4), ("count", 10)]),
        ("2·10^{−4} or 1.2∙10⁻⁵", [("value", 2e-4), ("value", 1.2e-5)]),
        ("the mean was 0∙81", [("mean", 0.81)]),
        ("an sd of 0.2", [("sd", 0.2)]),
        ("3\u2009430 cells", [("count", 3430)]),
        # What is no quantity.
        ("Table 1, Figures 2, 3 and Section 3.4 [7, 8–11]", []),
        ("F1 of CD8+/CD45RA+ cells of Zheng68K by GPT-4", []),
        ("Wang et al. (2019) and others in 2020", []),
        ("see https://example.org/1.5/x or 10.1101/2023.10.19.563100", []),
        ("as reported^{12} for H_{2}O", []),
    ],
)  # fmt: skip
def test_numbers_have_kinds(text, expected):
    assert [kind for kind, _ in kinds(text)] == [kind for kind, _ in expected]
    assert [value for _, value in kinds(text)] == pytest.approx([value for _, value in expected])


def test_spreads_and_wholes_say_what_they_belong_to():
    mean, spread = numbers_in("0.766 ± 0.013")
    assert spread.belongs_to == mean.start
    share, whole = numbers_in("for 99.8% of the 67,880 cells")
    assert whole.belongs_to == share.start


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("0.81", 0.805, 0.815),
        ("0.810", 0.8095, 0.8105),
        ("78%", 77.5, 78.5),
        ("−0.5", -0.55, -0.45),
        ("1.2 × 10⁻⁵", 1.15e-5, 1.25e-5),
        ("67,880 cells", 67880, 67880),
        ("p < 0.001", 0, 0.001),
    ],
)
def test_roundings(text, low, high):
    (number,) = numbers_in(text)
    assert (number.low, number.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("cell", "value", "mark"),
    [
        ("0.81^{a}", 0.81, "a"),
        ("0.81ᵃ", 0.81, "ᵃ"),
        ("0.81^{2}", 0.81, "2"),
        ("10^{−5}", 1e-5, ""),
        ("0,81", 0.81, ""),
        ("1,234", 1234, ""),
        ("<0.001", 0.001, ""),
        ("− 0.5", -0.5, ""),
        ("0.80***", 0.80, "***"),
    ],
)
def test_marks_in_cells_are_no_digits(cell, value, mark):
    (number,) = number_of_cell(cell)
    assert (number.value, number.mark) == (pytest.approx(value), mark)


@pytest.mark.parametrize("cell", ["scBERT 2", "N/A", "–", "", "Zheng68K", "no pre-training"])
def test_cells_of_words_have_no_number(cell):
    assert number_of_cell(cell) == []


def test_mentions_are_of_one_writing():
    text = "(Figures 2, 3; Supplementary Tables 4 and 5, Fig. S6, Tab. 1)"
    assert [each.artefact for each in mentions(text)] == [
        "Figure 2", "Figure 3", "Supp. Table 4", "Supp. Table 5", "Supp. Figure 6", "Table 1",
    ]  # fmt: skip


@given(st.decimals(-1000, 1000, places=3, allow_nan=False))
def test_any_decimal_is_read_as_written(number):
    written = f"{number}".replace("-", "−")
    (found,) = numbers_in(f"it was {written} here")
    assert found.value == pytest.approx(float(number))
    assert found.low <= float(number) <= found.high
    assert found.text == written


@pytest.mark.parametrize("text", ["9" * 400, "1e999", "10^{999}", "2 × 10⁹⁹⁹", "5 of 0 (3%)"])
def test_numbers_that_no_computer_holds_are_none(text):
    assert all(abs(each.value) < 1e300 for each in numbers_in(text))


@given(st.text(max_size=200))
def test_any_text_is_read_without_error(text):
    for number in numbers_in(text):
        assert text[number.start : number.end] == number.text
        assert number.low <= number.value <= number.high or number.kind == "p"

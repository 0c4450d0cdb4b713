"""The table of methods: its answers, and the paragraph that follows from them."""

import pandas as pd
import pytest
from compare_methods import compare_methods
from cxr.lrp.methods import BASELINES
from cxr.pages import REPORT

METHODS = ["preset_a_flat", "preset_a_flat_conserving", "grad_cam"]
ALL = [*METHODS, *BASELINES]
ERRORS = {"preset_a_flat": 5000.0, "preset_a_flat_conserving": 0.02, "grad_cam": None}


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.fixture
def compared(tmp_path):
    """A function that compares methods: (table, page)."""

    def compare(correlations, gains, accuracies=None, shortcut=None, reach=0.05):
        """Of METHODS: correlations with random weights, gains +- reach, rank accuracies +- 0.05."""
        explained = write(
            tmp_path / "explained.csv", method=METHODS, conservation_error=list(ERRORS.values())
        )
        randomised = write(
            tmp_path / "randomised.csv", method=METHODS * 2,
            drawn_anew=["all"] * 3 + ["output_layer"] * 3,
            rank_correlation=[*correlations, 1, 1, 1],
        )  # fmt: skip
        both = [*gains, 0.1, 0.0, 0.0] * 2
        faithfulness = write(
            tmp_path / "f.csv", method=ALL * 2, fill=["mean"] * 6 + ["blurred"] * 6,
            difference=both, difference_low=[reach and g - reach for g in both],
            difference_high=[reach and g + reach for g in both],
        )  # fmt: skip
        word = write(
            tmp_path / "w.csv", method=METHODS * 2, share_on_word=[0.1] * 6,
            share_of_area=[0.02] * 6, **{"class": ["normal"] * 3 + ["covid19"] * 3},
        )  # fmt: skip
        seconds = write(
            tmp_path / "s.csv", method=METHODS, seconds=[0.1] * 3, images_per_second=[10] * 3
        )
        localisation = {}
        if accuracies:
            both = [*accuracies, 0.4, 0.1, 0.1]
            localisation["netC"] = write(
                tmp_path / "l.csv", **{"class": ["all"] * 6}, method=ALL, rank_accuracy=both,
                rank_accuracy_low=[a - 0.05 for a in both],
                rank_accuracy_high=[a + 0.05 for a in both],
            )  # fmt: skip
        out, page = tmp_path / "methods.csv", tmp_path / "methods.html"
        compare_methods(
            METHODS, "netC", explained, randomised, faithfulness, word, seconds, localisation,
            shortcut, out, page, REPORT / "methods.html", REPORT / "style.css",
        )  # fmt: skip
        return pd.read_csv(out).set_index("method"), page.read_text()

    return compare


def test_answers(compared):
    table, page = compared([-0.95, 0.1, 0.3], [0.4, 0.3, 0.5], [0.6, 0.42, 0.3])
    assert list(table.index) == ALL
    assert list(table.conserves[METHODS].fillna("")) == ["no", "yes", ""]
    assert list(table.depends_on_learnt[METHODS]) == ["no", "yes", "yes"]
    assert list(table.localises_netC[METHODS]) == ["yes", "no", "no"]
    assert list(table.faithful[METHODS]) == ["yes", "yes", "yes"]
    answers = table.filter(regex="conserves|depends|localises|faithful")
    assert answers.loc[list(BASELINES)].isna().all(axis=None)
    assert table.times_area_on_word[METHODS].to_numpy() == pytest.approx([5, 5, 5])
    assert "Read Grad-CAM: its maps depend" in page
    assert "so do LRP (conserving), with smaller gains" in page
    assert "nearly the same maps by LRP (as shipped)" in page
    assert "By masks (netC), they find the place no better than a spot" in page
    assert "do not add up" in page and "nan" not in page
    assert "5000 times <b>no</b>" in page and ">2.0% <b>yes</b>" in page


def test_a_faithful_method_alone(compared):
    """A gain within 0.05 of the best baseline's 0.1 is not enough."""
    table, page = compared([0.1, 0.1, 0.3], [0.14, 0.16, 0.12])
    assert list(table.faithful[METHODS]) == ["no", "yes", "no"]
    assert (
        "Read LRP (conserving): its maps depend on what was learnt and are faithful, alone." in page
    )
    assert "Maps by LRP (as shipped) and Grad-CAM depend on what was learnt, but removing" in page
    assert "was not measured" in page and "do not add up" not in page


def test_gains_without_an_interval_are_no_answer(compared):
    """Of too few images: neither faithful nor not."""
    table, page = compared([0.1, 0.1, 0.9], [0.5, 0.5, 0.5], reach=None)
    assert table.faithful.isna().all()
    assert "whether they are faithful can" in page
    assert "changes the answer no more" not in page and "read no map as evidence" in page


def test_no_method_is_to_be_read(compared):
    _, page = compared([0.9, 0.9, -0.9], [0.5, 0.5, 0.5])
    assert "read no map as evidence" in page
    _, page = compared([0.1, 0.1, 0.1], [0, 0, 0])
    assert "read no map as evidence" in page


def test_shortcut_is_seen_from_the_share_on_that_all_higher_ones_show(compared, tmp_path):
    seen = {0: (False, True, False), 50: (False, True, True), 100: (True, True, True)}
    rows = [
        {"dose": dose, "kind": "relevance", "method": method, "seen": is_seen}
        for dose, methods in seen.items()
        for method, is_seen in zip(METHODS, methods, strict=True)
    ]
    rows.append({"dose": 0, "kind": "accuracy", "method": "clean", "seen": False})
    path = tmp_path / "curves.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    table, page = compared([0.1] * 3, [0.5] * 3, shortcut=path)
    assert list(table.shortcut_from[METHODS]) == [100, 0, 50]
    assert "50 %" in page and "Planted shortcut" in page

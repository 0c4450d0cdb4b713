"""Audits of the pretrained nets, subgroups and labels: with a flaw planted, and without."""

import numpy as np
import pandas as pd
import pytest
from audit_labels import audit_labels
from audit_subgroups import audit_subgroups, groups_of
from cxr.cli import InputError
from cxr.data.chestxray14 import LABELS, RADIOLOGISTS, read_people
from cxr.evaluation.audits import AuditOutputs
from sklearn.metrics import cohen_kappa_score, roc_auc_score

N = 400
SPLITS = np.repeat(["train", "val", "test"], [N // 4, N // 4, N // 2])
AGES = (20, 60)


@pytest.fixture
def tables():
    """Tables of 400 images of 200 patients: the label table, split.csv, logits, as data frames.

    The net of the logits sees Mass and Nodule alike on all images.
    """
    rng = np.random.default_rng(0)
    images = [f"{number}.png" for number in range(N)]
    labels = pd.DataFrame({name: rng.integers(0, 2, N) for name in LABELS})
    split = pd.DataFrame({"image": images, "patient_id": np.arange(N) // 2, "split": SPLITS})
    logits = split[["image", "split"]].assign(
        Mass=2 * labels.Mass + rng.normal(size=N), Nodule=labels.Nodule + rng.normal(size=N)
    )
    people = {
        "Image Index": images,
        "Patient Age": rng.integers(1, 95, N).astype(str),
        "Patient Gender": rng.choice(["F", "M"], N),
        "View Position": rng.choice(["PA", "AP"], N),
    }
    return {
        "labels": pd.DataFrame(people),
        "split": pd.concat([split, labels], axis=1),
        "logits": logits[SPLITS != "train"],
    }


def written(folder, tables):
    """Paths of the tables, written as CSV."""
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return {name: folder / f"{name}.csv" for name in tables}


def outputs(folder, name):
    return AuditOutputs(*(folder / f"{name}{end}" for end in (".csv", ".finding.csv", ".svg")))


def subgroups(folder, tables, where="here", min_images=10, age_bounds=AGES):
    """Table and result of the audit."""
    paths, out = written(folder, tables), outputs(folder, "subgroups")
    audit_subgroups(
        {"x": paths["logits"]},
        paths["split"],
        paths["labels"],
        {"x": where},
        age_bounds,
        min_images,
        out,
    )
    row = pd.read_csv(out.finding).iloc[0]
    assert (row.audit, row.gate) == ("subgroups", "report")
    return pd.read_csv(out.table), row.result


@pytest.fixture
def undrawn(monkeypatch):
    """No figure, which takes as long as all else."""
    monkeypatch.setattr("audit_subgroups.plot", lambda *_: None)


def verdicts(table, measure):
    """{group: verdict} of the mean over findings."""
    rows = table[(table.finding == "mean") & (table.measure == measure)]
    return rows.set_index("group").verdict.fillna("").to_dict()


@pytest.mark.parametrize("planted", [False, True])
def test_subgroups(tmp_path, tables, planted):
    """A net that finds nothing in AP views, or one that sees all views alike."""
    if planted:
        ap = (tables["labels"]["View Position"] == "AP")[SPLITS != "train"].to_numpy()
        rng = np.random.default_rng(1)
        for finding in ("Mass", "Nodule"):
            column = tables["logits"][finding].to_numpy()
            tables["logits"][finding] = np.where(ap, rng.normal(-3, 1, N * 3 // 4), column)
    table, result = subgroups(tmp_path, tables)
    assert (tmp_path / "subgroups.svg").stat().st_size
    found = verdicts(table, "auroc"), verdicts(table, "false_negatives")
    if planted:
        assert found[0]["PA"] == "larger" and found[1]["PA"] == "smaller"
        assert "; of means over findings " in result and ", PA minus rest -0." in result
    else:
        assert {*found[0].values(), *found[1].values()} == {"", "can't be told"}
        assert ", and 0 can (Holm)" in result
    unclear = table[table.verdict == "can't be told"]
    assert not ((unclear.gap_low > 0) & (unclear.p_holm < 0.05)).any()
    assert (table.p_holm.dropna() >= table.p.dropna()).all()
    assert table[table.group.isin(["all", "M", "AP"])].gap.isna().all(), "F and PA say it"
    assert table[table.group.isin(["F", "PA"])].gap.notna().all()
    groups = 1 + 3 + 1 + 6 + 4 + 6 + 12
    assert result.startswith(f"of {groups * 3 * 2} gaps"), "two findings and their mean"


def test_threshold_is_that_of_validation_images(tmp_path, tables, undrawn):
    """On test images, logits are 1 higher: fewer are missed than by a threshold of their own."""
    logits = tables["logits"]
    logits.loc[logits.split == "test", ["Mass", "Nodule"]] += 1
    table, _ = subgroups(tmp_path, tables)
    labels = tables["split"].Mass[SPLITS != "train"].to_numpy() == 1
    val, test = ((logits.split == name).to_numpy() for name in ("val", "test"))
    scores = logits.Mass.to_numpy()

    def youden(threshold):
        above = scores[val] >= threshold
        return above[labels[val]].mean() - above[~labels[val]].mean()

    threshold = max(sorted(scores[val]), key=youden)
    women = (tables["labels"]["Patient Gender"] == "F")[SPLITS != "train"].to_numpy()
    chosen = test & women
    rows = table[(table.group == "F") & (table.finding == "Mass")].set_index("measure").value
    assert rows["false_negatives"] == pytest.approx((scores[chosen & labels] < threshold).mean())
    assert rows["auroc"] == pytest.approx(roc_auc_score(labels[chosen], scores[chosen]))
    row = table[(table.finding == "Mass") & (table.measure == "false_negatives")].iloc[0]
    assert row.threshold == pytest.approx(threshold)


def test_small_subgroups_are_blank(tmp_path, tables, undrawn):
    """Ten women have a mass on test images, and nine a nodule."""
    women = (tables["labels"]["Patient Gender"] == "F").to_numpy() & (SPLITS == "test")
    for finding, n in (("Mass", 10), ("Nodule", 9)):
        of_women = np.zeros(N, int)
        of_women[np.flatnonzero(women)[:n]] = 1
        tables["split"].loc[women, finding] = of_women[women]
    table, result = subgroups(tmp_path, tables)
    rows = table[table.group == "F"].set_index(["finding", "measure"])
    for measure in ("auroc", "false_negatives"):
        assert rows.loc[("Mass", measure), ["value", "low", "gap"]].notna().all()
        blank = rows.loc[("Nodule", measure), ["value", "low", "high", "gap", "gap_low", "p"]]
        assert blank.isna().all()
        assert rows.loc[("Nodule", measure), "verdict"] == "can't be told"
    assert "are not known (fewer than 10 images with or without the finding" in result


def test_what_the_label_table_gives_wrongly_is_counted_and_in_no_group(tmp_path, tables, undrawn):
    labels = tables["labels"]
    labels.loc[N - 1, "Patient Gender"] = "M "
    labels.loc[N - 2, "View Position"] = ""
    labels.loc[[N - 3, N - 4], "Patient Age"] = ["414", ""]
    labels.loc[0, "Patient Gender"] = "?"  # a training image
    table, result = subgroups(tmp_path, tables)
    assert result.endswith(
        "; not known: sex of 1 images ('M ': 1); view of 1 images ('': 1); "
        "age of 2 images ('': 1, '414': 1)"
    )
    n = table[table.finding == "mean"].groupby("attribute").n.sum() / 2  # two measures
    assert (n["all"], n["sex"], n["view"], n["age"]) == (200, 199, 199, 198)
    assert n["sex x age x view"] == 196


def test_ages_on_a_bound_start_a_group(tmp_path):
    ages = ["19", "20", "59", "60", "011M", "95"]
    table = pd.DataFrame({"Image Index": list("abcdef"), "Patient Age": ages})
    table["Patient Gender"], table["View Position"] = "F", "PA"
    table.to_csv(tmp_path / "t.csv", index=False)
    groups = groups_of(read_people(tmp_path / "t.csv"), AGES)
    found = {group.name: group.chosen.tolist() for group in groups if group.attribute == "age"}
    assert found == {
        "under 20": [True, False, False, False, True, False],
        "20 to 59": [False, True, True, False, False, False],
        "60 or older": [False, False, False, True, False, True],
    }
    crossed = next(group for group in groups if group.name == "F, 20 to 59, PA")
    assert crossed.chosen.tolist() == found["20 to 59"]
    assert crossed.rest.tolist() == [not chosen for chosen in found["20 to 59"]]


def test_what_subgroups_cannot_be_made_of_is_refused(tmp_path, tables):
    with pytest.raises(InputError, match=r"--age-bounds: found \[60, 20\], expected"):
        subgroups(tmp_path, tables, age_bounds=(60, 20))
    tables["labels"] = tables["labels"][:-1]
    with pytest.raises(InputError, match=r"labels\.csv: found no row of 399\.png, expected all"):
        subgroups(tmp_path, tables)


def test_no_finding_that_is_missed_is_any_finding(tmp_path, tables, undrawn):
    """Missed are images with a finding that the net calls healthy."""
    healthy = tables["split"]["No Finding"][SPLITS != "train"].to_numpy()
    rng = np.random.default_rng(2)
    tables["logits"]["No Finding"] = 3 * healthy + rng.normal(size=len(healthy))
    table, _ = subgroups(tmp_path, tables)
    test = (tables["logits"].split == "test").to_numpy()
    rows = table[(table.finding == "any finding") & (table.group == "all")].set_index("measure")
    assert rows.positive.tolist() == [(healthy[test] == 0).sum()] * 2
    expected = roc_auc_score(healthy[test], tables["logits"]["No Finding"][test])
    assert rows.value["auroc"] == pytest.approx(expected)
    assert rows.value["false_negatives"] < 0.2
    everyone = table[(table.group == "all") & (table.measure == "auroc")].set_index("finding").value
    assert everyone["mean"] == pytest.approx(everyone[["Mass", "Nodule"]].mean())


def test_subgroups_of_a_net_that_was_trained_elsewhere(tmp_path, tables, undrawn):
    _, result = subgroups(tmp_path, tables, where="elsewhere")
    assert result.endswith("whether x, trained elsewhere, saw these images is not known")


def test_subgroups_of_too_few_images_are_not_known(tmp_path, tables, undrawn):
    table, result = subgroups(tmp_path, tables, min_images=300)
    assert table.value.isna().all()
    n = len(table[table.verdict.notna()])
    assert result.startswith(f"of {n} gaps") and f"{n} are not known" in result


@pytest.fixture
def seen(tables):
    """Radiologists' labels of 300 images, as a table: they see what the text says of Pneumothorax,
    half of the nodules and masses, and an airspace opacity by chance."""
    rng = np.random.default_rng(3)
    split = tables["split"]
    nodules = ((split.Nodule + split.Mass) > 0) & (rng.random(N) < 0.5)
    answers = {
        "Fracture": np.zeros(N, bool),
        "Pneumothorax": split.Pneumothorax == 1,
        "Airspace opacity": rng.random(N) < 0.5,
        "Nodule or mass": nodules,
    }
    words = {name: np.where(answer, "YES", "NO") for name, answer in answers.items()}
    return pd.DataFrame({"Image Index": split.image, **words})[100:]


def labels_audit(folder, tables, seen=None, where="here", min_images=10):
    """Table and result of the audit."""
    given = tables | ({} if seen is None else {"radiologists": seen})
    paths, out = written(folder, given), outputs(folder, "labels")
    audit_labels(
        {"x": paths["logits"]}, paths["split"], {"x": where}, min_images, out,
        paths.get("radiologists"),
    )  # fmt: skip
    row = pd.read_csv(out.finding).iloc[0]
    assert (row.audit, row.gate) == ("labels", "report")
    assert out.figure.stat().st_size
    return pd.read_csv(out.table), row.result


def test_text_mined_labels_beside_radiologists(tmp_path, tables, seen):
    table, result = labels_audit(tmp_path, tables, seen)
    text = table[table.of == "text-mined labels"].set_index(["finding", "measure"])
    value = text.value
    assert (value["Pneumothorax"] == 1).all()
    assert abs(value["Airspace opacity", "kappa"]) < 0.2
    both = tables["split"][100:]
    mined, right = (both.Nodule + both.Mass) > 0, seen["Nodule or mass"] == "YES"
    assert value["Nodule or mass", "kappa"] == pytest.approx(cohen_kappa_score(mined, right))
    assert value["Nodule or mass", "sensitivity"] == 1
    confirmed = right[mined].mean()
    assert value["Nodule or mass", "positive predictive value"] == pytest.approx(confirmed)
    assert value["Fracture"].isna().all(), "no text-mined label is of it"
    assert f"Nodule or mass 100% and {confirmed:.0%}, kappa" in result and "(300 images)" in result
    assert (text.n == 300).all()


def test_nets_by_radiologists_labels_and_by_text_mined_ones(tmp_path, tables, seen):
    """On test images alone; a nodule or mass is the larger logit of the two."""
    table, result = labels_audit(tmp_path, tables, seen)
    rows = table[table.of == "x"].set_index(["finding", "measure"])
    assert set(rows.index.get_level_values(0)) == {"Nodule or mass"}, "the net has no other"
    rows = rows.loc["Nodule or mass"]
    test = (tables["logits"].split == "test").to_numpy()
    scores = tables["logits"][["Mass", "Nodule"]].max(axis=1)[test]
    right = seen.set_index("Image Index")["Nodule or mass"][tables["logits"].image[test]] == "YES"
    mined = (tables["split"].Nodule + tables["split"].Mass > 0)[SPLITS == "test"]
    areas = roc_auc_score(right, scores), roc_auc_score(mined, scores)
    assert rows.value["AUROC, radiologists"] == pytest.approx(areas[0])
    assert rows.value["AUROC, text-mined"] == pytest.approx(areas[1])
    assert rows.value["AUROC, difference"] == pytest.approx(areas[0] - areas[1])
    assert rows.high["AUROC, difference"] < 0 and (rows.n == 200).all()
    assert "(200 test images): Nodule or mass -0." in result


def test_equal_labels_make_no_difference(tmp_path, tables, seen):
    seen["Nodule or mass"] = np.where(
        (tables["split"].Nodule + tables["split"].Mass > 0)[100:], "YES", "NO"
    )
    table, result = labels_audit(tmp_path, tables, seen)
    change = table[table.measure == "AUROC, difference"].iloc[0]
    assert change.value == 0 and change.low <= 0 <= change.high
    assert "Nodule or mass +0.00" in result and "(can't be told from 0)" in result


def test_without_radiologists_labels_the_audit_says_so(tmp_path, tables):
    table, result = labels_audit(tmp_path, tables)
    assert table.empty
    assert result.startswith("no radiologists' labels are given (sources.radiologists)")


def test_labels_of_too_few_images_are_not_known(tmp_path, tables, seen):
    table, result = labels_audit(tmp_path, tables, seen[-8:], where="elsewhere")
    assert table.value.isna().all()
    assert result.count("too few to say") == 2
    assert result.endswith("Whether x, trained elsewhere, saw them is not known")


def test_other_words_than_yes_and_no_are_refused(tmp_path, tables, seen):
    seen.loc[200, "Pneumothorax"] = "MAYBE"
    with pytest.raises(InputError, match=r"'200\.png': found 'MAYBE' in the column 'Pneumothorax'"):
        labels_audit(tmp_path, tables, seen)


def test_each_of_the_radiologists_findings_is_made_of_known_ones():
    assert {name for names in RADIOLOGISTS.values() for name in names} <= set(LABELS)

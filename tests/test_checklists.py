"""Checklists: answers that hang on audits, and what is wrong with a list."""

import pandas as pd
import pytest
from cxr.cli import InputError
from cxr.pages import REPORT
from write_checklists import write_checklists

ITEM = {
    "checklist": "CLAIM",
    "item": "20",
    "asks": "are splits disjoint?",
    "answer": "met",
    "why": "they are",
    "evidence": "results/{net}/metrics.csv; README.md",
}


@pytest.fixture
def answered(tmp_path):
    """Answers of a list of one item, given what differs from ITEM and the gates of audits."""
    (tmp_path / "results/netC").mkdir(parents=True)
    (tmp_path / "results/netC/metrics.csv").touch()
    (tmp_path / "README.md").touch()

    def answer(gates=("pass", "pass"), sets=("internal",), **changes):
        pd.DataFrame([ITEM | changes]).to_csv(tmp_path / "list.csv", index=False)
        findings = [
            {"audit": name, "result": f"{name} found", "gate": gate}
            for name, gate in zip(("patients", "selection"), gates, strict=True)
        ]
        findings.append({"audit": "external", "result": "0.7 elsewhere", "gate": "report"})
        pd.DataFrame({"net": "netA", "set": sets}).to_csv(tmp_path / "external.csv", index=False)
        pd.DataFrame(findings).to_csv(tmp_path / "audits.csv", index=False)
        out = tmp_path / "results/audits/checklists.csv"
        write_checklists(
            tmp_path / "list.csv", tmp_path / "audits.csv", tmp_path / "external.csv", "netC",
            [tmp_path / "results/netC/metrics.csv"], tmp_path, out, out.with_suffix(".html"),
            REPORT / "checklists.html", REPORT / "style.css",
        )  # fmt: skip
        return pd.read_csv(out).iloc[0], out.with_suffix(".html").read_text()

    return answer


def test_answer_links_to_its_evidence(answered):
    row, page = answered()
    assert row.answer == "met"
    assert '<a href="../netC/metrics.csv">results/netC/metrics.csv</a>' in page
    assert '<a href="../../README.md">README.md</a>' in page
    assert "CLAIM: 1 met, 0 not met, 0 not applicable" in page


@pytest.mark.parametrize(
    ("gates", "answer"),
    [(("pass", "pass"), "met"), (("pass", "fail"), "not met"), (("report", "pass"), "not met")],
)
def test_answer_hangs_on_audits(answered, gates, answer):
    row, _ = answered(gates, answer="audits patients selection")
    assert (row.answer, row.why) == (answer, "patients found; selection found")


@pytest.mark.parametrize(
    ("sets", "expected"),
    [(["internal"], ("not met", "they are")), (["internal", "far"], ("met", "0.7 elsewhere"))],
)
def test_answer_hangs_on_external_sets(answered, sets, expected):
    row, _ = answered(sets=sets, answer="external")
    assert (row.answer, row.why) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "mostly"}, "CLAIM 20: answer 'mostly'; expected one of"),
        ({"answer": "audits sleep"}, "CLAIM 20: no audit 'sleep'"),
        ({"evidence": "results/nothing.csv"}, "nothing.csv does not exist"),
    ],
)
def test_wrong_list_is_an_error(answered, changes, message):
    with pytest.raises(InputError, match=message):
        answered(**changes)

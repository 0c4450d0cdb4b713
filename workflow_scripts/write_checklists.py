"""Answer reporting and risk-of-bias checklists for this study.

CLAIM 2024 (Tejani et al., doi 10.1148/ryai.240300), TRIPOD+AI (Collins et al. 2024, doi
10.1136/bmj-2023-078378), PROBAST+AI (Moons et al. 2025, doi 10.1136/bmj-2024-082505; D development,
E evaluation, domain, question) and REFORMS (Kapoor et al. 2024, doi 10.1126/sciadv.adk3452), items
paraphrased. The answers come from --checklists, a CSV: checklist, item, asks, answer (met, not met,
not applicable, `audits A B`: met if these passed, or `external`: met if nets were evaluated on an
external set), why, evidence (files of --evidence or of --repository, separated by `; `).

Writes OUT (checklist, item, asks, answer, why, evidence) and OUT_PAGE, which is --page filled with
these rows and links to the evidence. InputError if a file of evidence doesn't exist.
"""

import os
from pathlib import Path
from urllib.parse import quote

from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import INTERNAL
from cxr.files import write_table
from cxr.pages import add_page, write_page
from cxr.tables import read_table

COLUMNS = ["checklist", "item", "asks", "answer", "why", "evidence"]
ANSWERS = ("met", "not met", "not applicable")


def write_checklists(
    checklists, audits, external, net, evidence, repository, out, out_page, page, style
):  # fmt: skip
    table = read_table(checklists, COLUMNS, text=COLUMNS)
    findings = read_table(audits, filled=["audit", "gate", "result"]).set_index("audit")
    table["evidence"] = table.evidence.str.replace("{net}", net)
    sets = set(read_table(external, ["net", "set"], text=["set"]).set) - {INTERNAL}
    answers = [answer(row, findings, sets, checklists) for row in table.itertuples()]
    table["answer"], table["why"] = zip(*answers, strict=True)
    links = [
        [(name, link(name, evidence, repository, out.parent)) for name in files.split("; ") if name]
        for files in table.evidence
    ]
    sections = [
        {"name": name, "counts": counts(rows.answer), "rows": rows.to_dict("records")}
        for name, rows in table.assign(links=links).groupby("checklist", sort=False)
    ]
    write_table(out, table)
    write_page(out_page, page, style, checklists=sections)


def answer(row, findings, sets, checklists):
    """The answer to an item, and why; some hang on audits, or on external sets."""
    kind, *names = row.answer.split()
    if row.answer == "external":
        return ("met", findings.result["external"]) if sets else ("not met", row.why)
    if kind == "audits" and names:
        if missing := [name for name in names if name not in findings.index]:
            raise InputError(f"{checklists}: {row.checklist} {row.item}: no audit {missing[0]!r}")
        found = findings.loc[names]
        return ("met" if (found.gate == "pass").all() else "not met"), "; ".join(found.result)
    if row.answer not in ANSWERS:
        expected = f"expected one of {ANSWERS}, external or `audits NAME ...`"
        raise InputError(
            f"{checklists}: {row.checklist} {row.item}: answer {row.answer!r}; {expected}"
        )
    return row.answer, row.why


def link(name, evidence, repository, folder):
    """URL, relative to a folder, of a file of evidence."""
    path = next((path for path in evidence if path.as_posix().endswith(name)), repository / name)
    if not path.exists():
        raise InputError(f"evidence {path} does not exist")
    return quote(os.path.relpath(path, folder))


def counts(answers):
    return ", ".join(f"{(answers == answer).sum()} {answer}" for answer in ANSWERS)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--checklists", type=Path, required=True, help="CSV of items")
    arguments.add_argument("--audits", type=Path, required=True, help="audits.csv")
    arguments.add_argument("--external", type=Path, required=True, help="external.csv")
    arguments.add_argument("--net", required=True, help="the net that replaces {net}")
    arguments.add_argument("--evidence", type=Path, nargs="+", required=True, help="results")
    arguments.add_argument("--repository", type=Path, required=True, help="folder of the code")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--out-page", type=Path, required=True, help="HTML to write")
    add_page(arguments, "checklists.html")
    with user_errors():
        write_checklists(**vars(arguments.parse_args()))

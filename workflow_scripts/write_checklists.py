"""What reporting and risk-of-bias checklists ask of such a study, and what this one answers.

CLAIM 2024 (Tejani et al., doi 10.1148/ryai.240300), TRIPOD+AI (Collins et al. 2024, doi
10.1136/bmj-2023-078378) and PROBAST+AI (Moons et al. 2025, doi 10.1136/bmj-2024-082505; D
development, E evaluation, domain, question), their items in our words. The answers are those of
--checklists, a CSV: checklist, item, asks, answer (met, not met, not applicable, or `audits A B`:
met if these passed), why, evidence (files of --results or of --repository, between `; `).

Writes OUT (checklist, item, asks, answer, why, evidence) and, beside it, OUT as HTML with links.
InputError if a file of evidence doesn't exist.
"""

import html
import os
from pathlib import Path

from cxr.files import write_table, write_whole
from cxr.logs import InputError, parser, user_errors
from cxr.tables import read_table

COLUMNS = ["checklist", "item", "asks", "answer", "why", "evidence"]
ANSWERS = ("met", "not met", "not applicable")
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Checklists</title>
<style>
body {{ font: 15px/1.4 sans-serif; max-width: 70em; margin: 1em auto; padding: 0 1em }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ border-bottom: 1px solid #ccc; padding: 0.3em 0.6em; text-align: left;
          vertical-align: top }}
</style>
<h1>Checklists</h1>
<p>Items in our words, answered for the study as it was run; no assessment by others.</p>
{sections}
</html>
"""


def write_checklists(checklists, audits, net, results, repository, out):
    table = read_table(checklists, COLUMNS, text=COLUMNS)
    findings = read_table(audits, filled=["audit", "gate", "result"]).set_index("audit")
    table["evidence"] = table.evidence.str.replace("{net}", net)
    answers = [answer(row, findings, checklists) for row in table.itertuples()]
    table["answer"], table["why"] = zip(*answers, strict=True)
    links = [
        [link(name, results, repository, out.parent) for name in files.split("; ") if name]
        for files in table.evidence
    ]
    sections = [
        section(name, rows, [links[place] for place in rows.index])
        for name, rows in table.groupby("checklist", sort=False)
    ]
    write_table(out, table)
    write_whole(out.with_suffix(".html"), PAGE.format(sections="\n".join(sections)))


def answer(row, findings, checklists):
    """The answer to an item and why; that of audits where it hangs on them."""
    kind, *names = row.answer.split()
    if kind == "audits" and names:
        if missing := [name for name in names if name not in findings.index]:
            raise InputError(f"{checklists}: {row.checklist} {row.item}: no audit {missing[0]!r}")
        found = findings.loc[names]
        return ("met" if (found.gate == "pass").all() else "not met"), "; ".join(found.result)
    if row.answer not in ANSWERS:
        expected = f"expected one of {ANSWERS} or `audits NAME ...`"
        raise InputError(
            f"{checklists}: {row.checklist} {row.item}: answer {row.answer!r}; {expected}"
        )
    return row.answer, row.why


def link(name, results, repository, folder):
    """HTML link, seen from a folder, to a file of evidence."""
    inside = name.removeprefix("results/")
    path = results / inside if inside != name else repository / name
    if not path.exists():
        raise InputError(f"evidence {path} does not exist")
    return f'<a href="{html.escape(os.path.relpath(path, folder))}">{html.escape(name)}</a>'


def section(name, rows, links):
    """HTML of one checklist: how many items have which answer, and the table."""
    counts = ", ".join(f"{(rows.answer == answer).sum()} {answer}" for answer in ANSWERS)
    head = "".join(f"<th>{title}</th>" for title in ("item", "asks", "answer", "why", "evidence"))
    lines = [
        "<tr>"
        + "".join(f"<td>{html.escape(text)}</td>" for text in row)
        + f"<td>{'<br>'.join(files)}</td></tr>"
        for row, files in zip(
            rows[["item", "asks", "answer", "why"]].itertuples(index=False), links, strict=True
        )
    ]
    body = "\n".join(lines)
    return f"<h2>{html.escape(name)}: {counts}</h2>\n<table>\n<tr>{head}</tr>\n{body}\n</table>"


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--checklists", type=Path, required=True, help="CSV of items")
    arguments.add_argument("--audits", type=Path, required=True, help="audits.csv")
    arguments.add_argument("--net", required=True, help="name that stands for {net}")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the run")
    arguments.add_argument("--repository", type=Path, required=True, help="folder of the code")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        write_checklists(**vars(arguments.parse_args()))

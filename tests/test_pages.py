"""Pages as a reader sees them: nothing overflows at any width, whatever the names and numbers.

Runs in the controller's environment, which has the browser; pages are filled in that of the steps.
"""

import base64
import csv
import itertools
import json
import os
import shutil
import subprocess

import pytest

pytest.importorskip("playwright")
import yaml
from browser import opened, overflowing
from studies import ROOT, snakemake

WIDTHS = [390, 820, 1300, 1920]
CLASSES = ["normal", "viral_pneumonia", "covid19"]
METHODS = {"preset_a_flat": "LRP (as shipped)", "preset_a_flat_conserving": "LRP (conserving)"}
LONG = "a_name_without_a_blank_" * 8
FINDINGS = ["Pneumothorax", "Pleural_Thickening", "No Finding", *(f"finding{n}" for n in range(12))]
GIF = base64.b64decode("R0lGODlhAQABAAAAACw=")  # one pixel
FILL = """
import json, sys
from pathlib import Path
from cxr.pages import REPORT, write_page
out = Path(sys.argv[1])
write_page(out, REPORT / out.name, REPORT / "style.css", **json.load(sys.stdin))
"""


def fill(path, **values):
    """Write the page of this name, filled with values; its path."""
    command = [ROOT / os.environ["TORCH_PYTHON"], "-c", FILL, path]
    scripts = ROOT / "workflow_scripts"
    subprocess.run(command, cwd=scripts, input=json.dumps(values), text=True, check=True)
    return path


def assert_fits(page):
    """Fails if something on a page overflows at one of the widths."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert overflowing(page) == [], f"at {width} pixels"


def gallery(
    folder, n=3, net="netA", name="NORMAL ({}).png", number=0.25, classes=CLASSES, methods=METHODS
):
    """A gallery of n images, of which all but those of the first class are errors; its path."""
    decision = {"predicted": classes[0], "sigmoids": [number] * len(classes)}
    images = [
        {"image": name.format(place), "class": true, "edited": decision, "unedited": decision}
        for place, true in zip(range(n), itertools.cycle(classes), strict=False)
    ]
    (folder / "gallery").mkdir()
    for place, kind in itertools.product(range(n), ["edited", f"{[*methods][-1]}_{classes[0]}"]):
        (folder / f"gallery/{place}_{kind}.png").write_bytes(GIF)
    data = {"net": net, "classes": classes, "methods": methods, "pictures": "gallery"}
    data["method"] = [*methods][-1]
    return fill(folder / "gallery.html", data=data | {"images": images})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n": 60},
        {"net": LONG, "name": f"{LONG}{{}}.png"},
        {"number": -98765432.1},
        {"classes": FINDINGS},
        {"classes": [LONG[:90], "b"], "methods": METHODS | {"c": LONG[:90], "d": "D"}},
    ],
    ids=["three", "many", "long names", "large numbers", "15 classes", "5 methods"],
)
def test_gallery_overflows_at_no_width(tmp_path, changes):
    with opened(gallery(tmp_path, **changes)) as page:
        assert_fits(page)


def test_gallery_without_its_pictures_overflows_at_no_width(tmp_path):
    path = gallery(tmp_path, name=f"{LONG}{{}}.png")
    shutil.rmtree(tmp_path / "gallery")
    with opened(path) as page:
        assert_fits(page)


def test_gallery_says_errors_and_labels_in_words(tmp_path):
    with opened(gallery(tmp_path)) as page:
        cards = page.locator("article")
        assert page.title() == page.inner_text("h1") == "Test images of net A"
        assert "Correct: normal" in cards.nth(0).inner_text()
        assert "Error: predicted normal, true class COVID-19" in cards.nth(2).inner_text()
        assert page.inner_text("#method").splitlines()[-1] == "LRP (conserving)"
        page.check("#errors")
        assert cards.count() == 2


@pytest.mark.parametrize("name", ["results/netC/metrics.csv", f"results/{LONG}/{LONG}.csv"])
def test_checklists_overflow_at_no_width(tmp_path, name):
    rows = [
        row | {"links": [(name, "x.csv"), ("README.md", "README.md")]}
        for row in csv.DictReader((ROOT / "report/checklists.csv").read_text().splitlines())
    ]
    lists = [{"name": "CLAIM 2024", "counts": "28 met, 14 not met", "rows": rows}]
    with opened(fill(tmp_path / "checklists.html", checklists=lists)) as page:
        assert_fits(page)
        assert page.get_by_text(rows[-1]["asks"]).last.is_visible()


def test_table_of_methods_overflows_at_no_width(tmp_path):
    heads = ["Method", *[f"Localises: rank accuracy, chexnet{n} on boxes" for n in range(7)]]
    interval = "-0.12 [-0.20, -0.03]"
    cells = [
        ("LRP (conserving)", None),
        *[(interval, "yes")] * 6,
        (f"{interval}; {interval}", "no"),
    ]
    method = {"title": "Grad-CAM", "sentence": "A sentence.", "source": LONG}
    values = {"heads": heads, "rows": [{"cells": cells, "seconds": "0.1"}] * 9}
    path = tmp_path / "methods.html"
    with opened(fill(path, net="netC", paragraph="Read it.", methods=[method], **values)) as page:
        assert_fits(page)
        assert page.get_by_text("Read it.").is_visible()


SNAKEFILE = f"""
configfile: "config.yaml"
report: {str(ROOT / "report/captions/study.rst")!r}
rule all:
    input: [f"{{number}}.txt" for number in range(40)]
    output: report("a.csv", category="5 Audits")
    shell: "echo a > {{output}}"
for number in range(40):
    rule:
        name: f"rule_{{number}}"
        output: f"{{number}}.txt"
        shell: "touch {{output}}"
"""
NUMBERS = "0.8778,0.7943,0.9376,11,90"


@pytest.fixture(scope="module", params=["short", LONG], ids=["short", "long"])
def report(request, tmp_path_factory):
    """Snakemake's report of a study of a few rules, with names of two lengths."""
    folder = tmp_path_factory.mktemp("report")
    name = request.param
    (folder / "Snakefile").write_text(SNAKEFILE)
    settings = {"image_size": 224, "seed": 0, "phantoms": True}
    settings |= {
        "sources": {"boxes": []},
        "covid19": {"masks": ""},
        "external": {"sets": {"a": {}}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    for path, text in {
        "tables/headline.csv": "net,training,accuracy,low,high,errors,n\n"
        f"{name},Twice transfer learning + output neuron keeping,{NUMBERS}\n",
        "external/first_page.csv": "net,external set,accuracy,internally,recalls\n"
        f'{name},"{name}, 238 images","0.500 [0.371, 0.628]",0.95,"0.50, 0.15, 0.85"\n',
        "figures/external.svg": '<svg width="1600pt" height="9pt" viewBox="0 0 1600 9"></svg>\n',
        "audits/audits.csv": f"audit,result,gate\n{name},images in {name}.csv,report\n",
    }.items():
        (folder / "results" / path).parent.mkdir(parents=True)
        (folder / "results" / path).write_text(text)
    for arguments in (["--cores", "1"], ["--report", "report.zip"]):
        run = snakemake(folder, "all", *arguments, config=None)
        assert run.returncode == 0, run.stdout
    shutil.unpack_archive(folder / "report.zip", folder)
    return folder / "report/report.html"


def test_first_page_of_the_report_overflows_at_no_width(report):
    with opened(report) as page:
        page.get_by_text("Results of the audits").wait_for()
        page.locator("canvas").wait_for()
        assert_fits(page)

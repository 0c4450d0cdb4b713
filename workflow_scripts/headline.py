"""Print the headline numbers of a finished run and where its report is.

Needs only Python's standard library.
"""

import argparse
import csv
from pathlib import Path


def headline(results, report):
    with open(results / "tables" / "summary.csv", newline="") as file:
        for row in csv.DictReader(file):
            low, high = float(row["accuracy_low"]), float(row["accuracy_high"])
            right = int(row["n"]) - int(row["errors"])
            print(
                f"{row['net']}: {right} of {row['n']} test images correct, "
                f"accuracy {float(row['accuracy']):.3f} [{low:.3f}, {high:.3f}]"
            )
    with open(results / "tables" / "external.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["set"] != "internal":
                print(
                    f"{row['net']}: accuracy {float(row['accuracy']):.3f} on the external set "
                    f"{row['set']}, internally {float(row['internal_accuracy']):.3f}"
                )
    print(f"Report: {report}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    headline(**vars(parser.parse_args()))

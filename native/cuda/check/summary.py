#!/usr/bin/env python3
"""Puts what check.sh's parts have left in a folder into one JSON, judges the marks, and prints both.

    python3 summary.py FOLDER --commit COMMIT [--emulated]

Reads parts.tsv (part, exit code, seconds, note), and where they are: time.json, torch.json, check.txt, clocks.csv.
Writes cuda.json. Ends with 1 where a part has failed; a mark that was missed is said, and is no failure.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

# The catalog on which the marks are judged, by its rows: a few of 20 million random SIDs are the same.
JUDGED_LEAVES = 19_000_000


def read_json(path: Path) -> Optional[dict[str, Any]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def output_of(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def read_parts(folder: Path) -> list[dict[str, Any]]:
    parts = []
    for line in (folder / "parts.tsv").read_text(encoding="utf-8").splitlines():
        name, code, seconds, note = line.split("\t")
        parts.append({"part": name, "exitCode": int(code), "seconds": int(seconds), "note": note})
    return parts


def read_clocks(path: Path) -> dict[str, Any]:
    """What nvidia-smi said while steps were timed: medians of the clocks, and the hottest moment."""
    names = ["smMHz", "memoryMHz", "powerWatts", "temperatureC"]
    columns: list[list[float]] = [[] for _ in names]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        found = [re.sub(r"[^0-9.]", "", cell) for cell in line.split(",")]
        if len(found) != len(names) or not all(found):
            continue
        for column, cell in zip(columns, found):
            column.append(float(cell))
    if not columns[0]:
        return {}
    medians = {name: sorted(column)[len(column) // 2] for name, column in zip(names, columns)}
    return {**medians, "temperatureC": max(columns[3])}


def machine_of(folder: Path, timed: Optional[dict[str, Any]]) -> dict[str, Any]:
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8")) if Path("/proc/cpuinfo").exists() else None
    compiler = re.search(r"release [^\n]*", output_of(["nvcc", "--version"]))
    limits = output_of(["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,clocks.max.mem,power.limit", "--format=csv,noheader", "-i", "0"])
    return {
        "gpu": timed["device"] if timed else None,
        "driver": limits.split(",")[0].strip() if limits else None,
        "limits": limits or None,
        "clocksWhileTiming": read_clocks(folder / "clocks.csv") or None,
        "cpu": cpu.group(1) if cpu else platform.processor(),
        "nvcc": compiler.group(0) if compiler else None,
        "python": platform.python_version(),
    }


def median(row: dict[str, Any], name: str) -> Optional[float]:
    return row.get(name, {}).get("median")


class Marks:
    """What was gone for, beside what was measured. A mark without a measurement is neither met nor missed."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def add(self, what: str, unit: str, measured: Optional[float], goals: list[float], is_less_better: bool) -> None:
        for goal in goals:
            is_met = None if measured is None else measured <= goal if is_less_better else measured >= goal
            rounded = None if measured is None else round(measured, 3)
            self.found.append({"what": what, "unit": unit, "goal": goal, "isLessBetter": is_less_better, "measured": rounded, "isMet": is_met})


def worst(rows: list[dict[str, Any]], value_of: Any, is_less_better: bool) -> Optional[float]:
    values = [value for value in map(value_of, rows) if value is not None]
    return None if not values else max(values) if is_less_better else min(values)


def judge(timed: Optional[dict[str, Any]], torch: Optional[dict[str, Any]]) -> list[dict[str, Any]]:
    marks = Marks()
    rows = [row for row in timed["rows"] if row["leaves"] >= JUDGED_LEAVES and row["vocabSize"] == 2048 and row["sets"] == 0] if timed else []
    small = [row for row in rows if row["batch"] == 2 and row["beams"] == 70 and row["logits"] == "float32"]
    large = [row for row in rows if row["batch"] == 32 and row["beams"] == 50 and row["logits"] == "float32" and row["depth"] > 0]
    tail = worst([row for row in small if row["level"] == "tail"], lambda row: median(row, "graphUs"), True)
    dense = worst([row for row in small if row["level"] in ("root", "dense")], lambda row: median(row, "graphUs"), True)
    marks.add("B=2 M=70 V=2048 N=20M float32, tail, a step in a graph", "us", tail, [8, 4], True)
    marks.add("B=2 M=70 V=2048 N=20M float32, dense levels, a step in a graph", "us", dense, [12, 6], True)

    def share(row: dict[str, Any]) -> Optional[float]:
        streamed = median(row, "streamedUs")
        copied = timed["copyBytesPerSecond"] if timed else 0
        return row["logitBytes"] / (streamed * 1e-6) / copied if streamed and copied else None

    marks.add("B=32 M=50 V=2048 N=20M float32, the logits' bytes against copies", "of the copy bandwidth", worst(large, share, False), [0.6], False)

    def ratio(row: dict[str, Any]) -> float:
        found = []
        for ours, theirs in (("oursCalledUs", "torchCalledUs"), ("oursUs", "torchUs")):
            found.append(median(row, theirs) / median(row, ours))  # type: ignore[operator]
        return min(found)

    def is_whole(row: dict[str, Any]) -> bool:
        return all(median(row, name) for name in ("oursCalledUs", "torchCalledUs", "oursUs", "torchUs"))

    against = [row for row in torch["rows"] if row["batch"] == 2 and row["beams"] == 70] if torch and torch["leaves"] >= JUDGED_LEAVES else []
    # Of what was not timed in full nothing is known, and so not the worst either.
    compared = worst(against, ratio, False) if all(map(is_whole, against)) else None
    marks.add("B=2 M=70 V=2048 N=20M, against PyTorch under torch.compile, the worst level and type, called singly or in a graph", "x", compared, [8], False)
    return marks.found


def print_marks(marks: list[dict[str, Any]]) -> None:
    for mark in marks:
        sign = "<=" if mark["isLessBetter"] else ">="
        verdict = {True: "met", False: "missed", None: "not measured"}[mark["isMet"]]
        measured = "" if mark["measured"] is None else f", measured {mark['measured']:g}"
        print(f"  {verdict:12} {mark['what']}: {sign} {mark['goal']:g} {mark['unit']}{measured}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--emulated", action="store_true")
    options = parser.parse_args()
    parts = read_parts(options.folder)
    timed = read_json(options.folder / "time.json")
    torch = read_json(options.folder / "torch.json")
    checked = (options.folder / "check.txt").read_text(encoding="utf-8").splitlines() if (options.folder / "check.txt").exists() else []
    marks = [] if options.emulated else judge(timed, torch)
    result = {
        "commit": options.commit,
        "isEmulated": options.emulated,
        "machine": machine_of(options.folder, timed),
        "marks": marks,
        "parts": parts,
        "check": [line for line in checked if line.startswith("check: ")],
        "time": timed,
        "torch": torch,
    }
    (options.folder / "cuda.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if marks:
        print("marks:")
        print_marks(marks)
    print("parts:")
    for part in parts:
        verdict = "passed" if part["exitCode"] == 0 else "skipped" if part["exitCode"] == 77 else f"FAILED ({part['exitCode']})"
        print(f"  {verdict:12} {part['part']} in {part['seconds']} s{': ' if part['note'] else ''}{part['note']}")
    failed = [part["part"] for part in parts if part["exitCode"] not in (0, 77)]
    passed = sum(1 for part in parts if part["exitCode"] == 0)
    print(f"{passed} passed, {len(failed)} failed, {len(parts) - passed - len(failed)} skipped; {options.folder / 'cuda.json'}")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

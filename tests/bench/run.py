"""The benchmark: `python tests/bench/run.py`. It reports; nothing here fails because a machine is slow.

A real ipykernel runs a cell against a paced server in another process; the figures are what the two recorded.
The exit code is 0 unless a subject could not be run at all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import peers
import subjects
from kernel import CellError
from report import Table
from rig import BenchmarkSession
from scenarios import QUICK, SCENARIOS, TINY, Plan

OWN = {subject.name: subject for subject in (subjects.BARE, subjects.PUQ_MAGICS, subjects.NAIVE)}
USUAL = ["bare loop", "puq_magics"]


def main() -> int:
    """Run what was asked for and print a table after each scenario."""
    options = _options()
    chosen = [OWN[name] for name in options.subjects]
    if options.peers:
        chosen += peers.install(options.peers_folder)
    print(_machine(), flush=True)
    tables: list[Table] = []
    with BenchmarkSession(chosen) as rig:
        rig.working_subjects()
        for name in options.only or _usual(options.browser):
            if not rig.subjects:
                break
            try:
                tables.append(SCENARIOS[name](rig, options.plan))
            except CellError as failure:
                rig.note(name, failure)
            else:
                print(f"\n{tables[-1]}", flush=True)
    if options.json:
        report: dict[str, Any] = {"machine": _machine(), "failed": rig.failed}
        report["tables"] = [table.as_json() for table in tables]
        options.json.write_text(json.dumps(report, indent=1))
    return 1 if rig.failed else 0


def _usual(browser: bool) -> list[str]:
    return [name for name in SCENARIOS if browser or name != "browser"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", dest="plan", const=QUICK, help="two minutes, not ten")
    size.add_argument("--tiny", action="store_const", dest="plan", const=TINY, help="only see that it works")
    parser.set_defaults(plan=Plan())
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario (repeatable)")
    parser.add_argument("--subjects", nargs="+", choices=OWN, default=USUAL, help="which of our own")
    parser.add_argument("--peers", action="store_true", help="measure chatlab and cellmage beside them")
    parser.add_argument("--peers-folder", type=Path, default=peers.DEFAULT_FOLDER, help="their environments")
    parser.add_argument("--browser", action="store_true", help="and in JupyterLab, with Chromium")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    return parser.parse_args()


def _machine() -> str:
    load = os.getloadavg()[0]
    packages = ", ".join(f"{name} {version(name)}" for name in ("ipython", "ipykernel", "requests"))
    python = platform.python_version()
    return f"{os.cpu_count()} cores (load {load:.1f} before), Python {python}, {packages}"


if __name__ == "__main__":
    sys.exit(main())

"""What the ledger adds to a call, and what tables cost to render.

Run it by hand: ``python tests/bench/ledger.py [folder]``; the folder says on which disk.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from puq_magics.api.types import Model
from puq_magics.outputs.tables.table import ModelTable
from puq_magics.outputs.tables.usage_report import UsageReport
from puq_magics.session.ledger import Ledger, LedgerEntry

CALLS = 5_000
#: Another kernel that notes calls as fast as it can.
NEIGHBOR = """
import sys
from pathlib import Path
from puq_magics.session.ledger import LedgerEntry, Ledger
ledger = Ledger(Path(sys.argv[1]))
print(flush=True)
while True:
    ledger.record(LedgerEntry(kind="chat", model="a/neighbor"))
"""


def entry(i: int) -> LedgerEntry:
    return LedgerEntry(
        kind="chat",
        model="openai/gpt-4o-mini",
        host="api.puq.ai",
        cell=str(i % 50),
        prompt_tokens=i,
        completion_tokens=2 * i,
        total_tokens=3 * i,
        seconds=2.5,
        time_to_first_token=0.4,
        cost=0.0001,
    )


def milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def say(words: str, times: list[float]) -> None:
    times = sorted(times)
    parts = [
        f"{name} {times[int(share * (len(times) - 1))]:.3f}"
        for name, share in (("median", 0.5), ("p99", 0.99), ("worst", 1))
    ]
    over = sum(t > 2 for t in times)
    print(f"{words}: {', '.join(parts)} ms; {over} of {len(times):,} above 2 ms")


def measure_ledger(folder: Path) -> None:
    path = folder / "ledger.sqlite"
    ledger = Ledger(path)
    print(f"first note, a new file: {milliseconds(lambda: ledger.record(entry(0))):.2f} ms")
    say("note", [milliseconds(lambda i=i: ledger.record(entry(i))) for i in range(CALLS)])
    ledger.close()
    print(f"first note, a file of {CALLS:,}: {milliseconds(lambda: ledger.record(entry(0))):.2f} ms")
    with subprocess.Popen([sys.executable, "-c", NEIGHBOR, str(path)], stdout=subprocess.PIPE) as neighbor:
        assert neighbor.stdout is not None
        neighbor.stdout.readline()
        say(
            "note beside one who never rests",
            [milliseconds(lambda i=i: ledger.record(entry(i))) for i in range(500)],
        )
        neighbor.kill()
    found: list[LedgerEntry] = []
    took = milliseconds(lambda: found.extend(ledger.entries(all_sessions=True)))
    print(
        f"all {len(found):,} entries read: {took:.0f} ms; {path.stat().st_size // len(found)} bytes an entry"
    )
    ledger.close()
    took = milliseconds(lambda: UsageReport(found)._repr_mimebundle_())
    print(f"their report: {took:.0f} ms")


def measure_tables() -> None:
    for count in (2_000, 10_000):
        models = [
            Model(f"provider-{i % 40}/model-{i}", f"Modèle {i}", "P", input_price=i / 7) for i in range(count)
        ]
        say(
            f"{count:,} models",
            [milliseconds(lambda m=models: ModelTable(m)._repr_mimebundle_()) for _ in range(20)],
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        measure_ledger(Path(made))
    measure_tables()

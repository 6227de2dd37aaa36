#!/usr/bin/env python3
"""Measures the functions as programs: their size, zipped, and the time from their start to their first request for work.

    tests/bench/functions.py TOOLS FUNCTIONS [--arm64 FOLDER]

FUNCTIONS is the folder of the programs of this machine. `--arm64` names what `make package` wrote, whose sizes stand in
a column of their own. Every time is the median of seven starts on an otherwise idle stack, with its range.
"""
import argparse
import io
import pathlib
import statistics
import sys
import time
import zipfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from deployment import Deployment, ROOT, stack  # noqa: E402

STARTS = 7
# Seconds for all processes of one function to ask for work.
READY_S = 30
TARGETS = {"event-handler": "< 12 MB, < 60 ms"}


def zipped_mb(program):
    """Megabytes (10^6 bytes) of the archive that is deployed."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        out.writestr("bootstrap", program.read_bytes())
    return len(archive.getvalue()) / 1e6


def arm64_mb(folder, name):
    """The same of the program that `sam build` made, or none: resources are named as `WorkerHttp` for `worker-http`."""
    resource = "".join(word.capitalize() for word in name.split("-"))
    program = folder / resource / "bootstrap"
    return zipped_mb(program) if program.is_file() else None


def starts(deployment, name):
    """Milliseconds from start to first request, ascending."""
    found = []
    for number in range(STARTS):
        deployment.service.spawn(name)
        begun = time.monotonic()
        while len(found := deployment.service.ready_s().get(name, [])) <= number:
            assert time.monotonic() - begun < READY_S, deployment.log(name)[-2000:]
            time.sleep(0.01)
        deployment.service.kill({name})
    return sorted(1000 * seconds for seconds in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("functions", type=pathlib.Path)
    parser.add_argument("--arm64", type=pathlib.Path, default=ROOT / ".aws-sam/build")
    options = parser.parse_args()
    print(f"{'function':20} {'MB':>7} {'zipped MB':>10} {'arm64 zipped':>13} {'start to first /next, ms':>26}  target")
    with Deployment(options.tools, options.functions) as deployment:
        for name in stack.FUNCTIONS:
            program = options.functions / name
            took, arm64 = starts(deployment, name), arm64_mb(options.arm64, name)
            shown = f"{statistics.median(took):.1f} ({took[0]:.1f} .. {took[-1]:.1f})"
            other = f"{arm64:.2f}" if arm64 else "not built"
            print(f"{name:20} {program.stat().st_size / 1e6:7.1f} {zipped_mb(program):10.2f} {other:>13} {shown:>26}"
                  f"  {TARGETS.get(name, '')}", flush=True)


if __name__ == "__main__":
    main()

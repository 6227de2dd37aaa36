#!/usr/bin/env python3
"""`make dev`, end to end: two loops and a heavy loop through `cargo lambda watch` and `noetl-lambda esm`.

    tests/e2e/watched.py TOOLS [--items 1000] [--release]

Starts `infra/local/dev`, asks the API in the one line that it prints, and ends it as Ctrl-C does: nothing is left behind.
"""
import argparse
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from api import ROOT, Api  # noqa: E402

# Seconds for one execution, and for everything to end.
RUN_S, END_S = 300, 60


def left_behind(folder):
    """The processes that the script started and that still run."""
    started = [line.split(" ", 1) for line in (folder / "processes").read_text().splitlines()]
    return [name for pid, name in started if pathlib.Path("/proc", pid).exists()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("--items", type=int, default=1000, help="items of the heavy loop")
    parser.add_argument("--release", action="store_true", help="functions as `make release` builds them")
    options = parser.parse_args()
    begun = time.monotonic()
    command = [ROOT / "infra/local/dev", options.tools, "--port", "0", *(["--release"] if options.release else [])]
    dev = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = dev.stdout.readline()
        found = re.match(r"(http://\S+) .*logs in (\S+)\)", line)
        assert found, f"the stack did not come up; see above: {line!r}"
        print(f"`make dev` is up after {time.monotonic() - begun:.1f} s", flush=True)
        api, folder = Api(found[1]), pathlib.Path(found[2])
        for playbook, payload in (("loop_isolation.yaml", {}), ("heavy_loop.yaml", {"workload": {"item_count": options.items}})):
            ended, took = api.run(playbook, payload, RUN_S)
            assert ended["status"] == "COMPLETED", f"{ended}; logs in {folder}"
            print(f"{playbook}: {ended['status']} in {took:.1f} s", flush=True)
    finally:
        dev.send_signal(signal.SIGINT)
        status = dev.wait(END_S)
    left = left_behind(folder)
    assert status == 0 and not left, f"ended with {status}, and left {left} behind"
    print("Ctrl-C ended all of it")


if __name__ == "__main__":
    main()

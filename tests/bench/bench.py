#!/usr/bin/env python3
"""Measures the real program on its durable store and prints a table beside the targets.

Chains, sequential loops and parallel loops, for noop, python and http against a server on loopback. Every figure
comes from one run of this script, the median of three where a run is short; ratios between rows are what counts, absolute numbers depend on the machine.
Needs only the standard library. NOETL_BINARY names the program. BENCH_ITEMS_MAX (default 100000) bounds the longest loop.
"""
import asyncio
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import transfer
from engine import Engine

BINARY = os.environ.get("NOETL_BINARY", "target/release/noetl-lambda")
ITEMS_MAX = int(os.environ.get("BENCH_ITEMS_MAX", "100000"))
HEAD = {"apiVersion": "noetl.io/v2", "kind": "Playbook"}
# Runs a command and tells its seconds, the peak KB of it or of a process that it waited for, and how it ended. In a
# process of its own: Linux counts what the parent held at the moment of the fork to the peak of the child.
STOPWATCH = """
import os, sys, time
nowhere = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
began = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=nowhere)
_, status, usage = os.wait4(child, 0)
print([time.perf_counter() - began, usage.ru_maxrss, status])
"""
TOOLS = {
    "noop": {"kind": "noop"},
    "python": {"kind": "python", "args": {"n": "{{ n }}"}, "code": "result = {'n': n}"},
    "http": {"kind": "http", "method": "GET", "url": "{{ workload.url }}/item", "params": {"n": "{{ n }}"}},
}


class Server:
    """A small HTTP/1.1 server with keep-alive, in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.requests = 0
        threading.Thread(target=self.serve, daemon=True).start()
        self.ready.wait()

    async def answer(self, reader, writer):
        body = b'{"ok": true}'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def serve(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.answer, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()


def chain(tool, length):
    """A linear playbook of `length` steps."""
    names = ["start"] + [f"s{n}" for n in range(1, length)]
    tool = {**tool, "args": {"n": 1}} if tool["kind"] == "python" else tool
    tool = {**tool, "params": {"n": 1}} if tool["kind"] == "http" else tool
    steps = [{"step": name, "tool": tool} for name in names]
    for step, following in zip(steps, names[1:]):
        step["next"] = following
    return {**HEAD, "metadata": {"name": "chain"}, "workload": {"url": ""}, "workflow": steps}


def loop(tool, items, window):
    """One loop over `items` numbers; `window` 1 is sequential."""
    spec = {"mode": "parallel", "max_in_flight": window} if window > 1 else {"mode": "sequential"}
    step = {"step": "start", "tool": tool, "loop": {"in": "{{ range(workload.items) | list }}", "iterator": "n", "spec": spec}}
    return {**HEAD, "metadata": {"name": "loop"}, "workload": {"url": "", "items": items}, "workflow": [step]}


def disk(store):
    """Bytes of a store with everything beside it."""
    files = [file for file in store.parent.rglob("*") if file.is_file() and file.name.startswith(store.name)]
    return sum(file.stat().st_size for file in files + list(pathlib.Path(f"{store}.payloads").rglob("*")) if file.is_file())


def span(store):
    """Seconds from the first to the last entry of the execution: without the start of the process."""
    row = sqlite3.connect(store).execute("select (ended_ms - started_ms) / 1000.0 from execution").fetchone()
    return row[0]


def gaps(store):
    """Median and 99th percentile of the milliseconds between entries, and their number."""
    rows = [row[0] for row in sqlite3.connect(store).execute("select at_ms from entry order by at_ms")]
    steps = sorted(after - before for before, after in zip(rows, rows[1:])) or [0]
    return steps[len(steps) // 2], steps[int(len(steps) * 0.99)], len(rows)


def measure(playbook, payload):
    """Runs the program once; returns seconds, peak MB, bytes on disk, gaps, seconds of the execution alone."""
    with tempfile.TemporaryDirectory() as folder:
        file, store = pathlib.Path(folder, "playbook.yaml"), pathlib.Path(folder, "store.db")
        file.write_text(json.dumps(playbook))
        command = [BINARY, "run", str(file), "--store", str(store), "--payload", json.dumps(payload)]
        with open(pathlib.Path(folder, "errors"), "w+") as errors:
            ended = subprocess.run([sys.executable, "-I", "-S", "-c", STOPWATCH, *command], stdout=subprocess.PIPE, stderr=errors)
            took, peak_kb, status = json.loads(ended.stdout)
            if status:
                errors.seek(0)
                sys.exit(f"bench: {command} ended with {status}: {errors.read()[-2000:]}")
        return took, peak_kb / 1024, disk(store), gaps(store), span(store)


def main():
    server = Server()
    url = f"http://127.0.0.1:{server.port}"
    print(f"{'case':34} {'seconds':>8} {'items/s':>9} {'gap p50/p99 ms':>15} {'entries':>8} {'peak MB':>8} {'disk MB':>8}  target")
    rows = {}

    def row(name, playbook, items, target="", **payload):
        runs = sorted(measure(playbook, {"url": url, **payload}) for _ in range(3 if items <= 10_000 else 1))
        took, memory, size, (p50, p99, entries), _ = runs[len(runs) // 2]
        rows[name] = sorted(run[4] for run in runs)[len(runs) // 2]
        print(f"{name:34} {took:8.3f} {items / took:9.0f} {f'{p50}/{p99}':>15} {entries:8} {memory:8.1f} {size / 1e6:8.2f}  {target}", flush=True)

    row("one noop step (start-up)", chain(TOOLS["noop"], 1), 1, "peak < 60 MB")
    targets = {"chain noop": "<= 0.10 s", "sequential http": "<= 1.0 s", "parallel http": "<= 1.5 s"}
    for kind, tool in TOOLS.items():
        row(f"chain of 100, {kind}", chain(tool, 100), 100, targets.get(f"chain {kind}", ""))
        row(f"1,000 sequential, {kind}", loop(tool, 1000, 1), 1000, targets.get(f"sequential {kind}", ""))
        row(f"10,000 parallel (32), {kind}", loop(tool, 10000, 32), 10000, targets.get(f"parallel {kind}", ""))
    for window, mode in ((1, "sequential"), (32, "parallel")):
        per_item = {}
        for items in (1_000, 10_000, 100_000, 1_000_000):
            if items > ITEMS_MAX:
                continue
            name = f"{items:,} {mode}, noop"
            row(name, loop(TOOLS["noop"], items, window), items, "<= 120 s" if items == 1_000_000 else "")
            per_item[items] = max(rows[name], 1e-3) / items
        ratio = per_item[max(per_item)] / per_item[1_000]
        print(f"time per item, {mode}: {max(per_item):,} against 1,000 = {ratio:.2f} x   target <= 1.15 x")
    print(f"requests served: {server.requests}")
    transfer.bench(HEAD, measure, Engine)


if __name__ == "__main__":
    main()

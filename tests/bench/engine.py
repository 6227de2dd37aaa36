"""The memory of the process that runs DuckDB, which is none of the measured program's own."""
import pathlib
import re
import threading

# Seconds between two looks; a peak is kept by the system, so that only one after the last look is missed.
LOOK_S = 0.02
NAME = "duckdb-engine"


class Engine:
    """Looks at every process of that name while it is entered; `peak_mb` is the most memory that one of them had."""

    def __init__(self):
        self.peak_mb = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.wait(LOOK_S):
            for name in pathlib.Path("/proc").glob("[0-9]*/comm"):
                try:
                    if name.read_text().strip() == NAME:
                        peak_kb = re.search(r"VmHWM:\s+(\d+)", name.with_name("status").read_text())
                        self.peak_mb = max(self.peak_mb, int(peak_kb[1]) / 1024 if peak_kb else 0)
                except OSError:
                    # It has ended.
                    continue

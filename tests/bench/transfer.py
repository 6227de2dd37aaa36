"""Measures the tool `transfer`: rows per second between servers, and whether memory grows with the rows.

Needs NOETL_TEST_POSTGRES (a connection string) and NOETL_DUCKDB_WORKER (or the worker beside the program); what is
missing is left out and said. BENCH_TRANSFER_ROWS (default 1000000) bounds the longest transfer.
"""
import http.server
import os
import socketserver
import tempfile
import threading

ROWS_MAX = int(os.environ.get("BENCH_TRANSFER_ROWS", "1000000"))
PIECE = 1_000


class Rows(http.server.BaseHTTPRequestHandler):
    """Answers `/N` with a JSON list of N rows, made while it is sent."""

    def do_GET(self):
        rows = int(self.path.strip("/"))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        for first in range(0, rows, PIECE):
            piece = (
                f'{{"id":{n},"user":{{"id":{n % 97},"name":"user {n % 97}"}},"price":{n % 1000}.25,"at":"2026-01-02T03:04:05Z",'
                f'"title":"a title of some length for row {n}"}}'
                for n in range(first, min(first + PIECE, rows))
            )
            self.wfile.write(("[" if first == 0 else ",").encode() + ",".join(piece).encode())
        self.wfile.write(b"]")

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def serve():
    """The URL of a server of rows."""
    server = Server(("127.0.0.1", 0), Rows)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def playbook(head, *transfers):
    """One step per transfer."""
    names = ["start"] + [f"t{n}" for n in range(1, len(transfers))]
    steps = [{"step": name, "tool": {"kind": "transfer", **config}, "spec": {"timeout": 800}} for name, config in zip(names, transfers)]
    for step, following in zip(steps, names[1:]):
        step["next"] = following
    return {**head, "metadata": {"name": "transfer"}, "workflow": steps}


def bench(head, measure, engine):
    """Prints the table; `measure(playbook, payload)` gives seconds, peak MB, .., seconds of the execution alone.

    `engine()`, entered, tells the peak memory of DuckDB's process, which is measured beside the program's.
    """
    postgres = os.environ.get("NOETL_TEST_POSTGRES")
    if not postgres:
        print("transfer: left out, as NOETL_TEST_POSTGRES is not set")
        return
    url, auth = serve(), {"db_conn_string": postgres}
    mapping = {"id": "id", "user_id": "user.id", "user_name": "user.name", "price": "price", "at": "at", "title": "title"}
    table = {"type": "postgres", "auth": auth, "table": "bench_transfer"}

    def into_postgres(rows):
        target = {**table, "create": True, "mode": "overwrite"}
        return playbook(head, {"source": {"type": "http", "url": f"{url}/{rows}"}, "target": target, "mapping": mapping})

    print(f"{'transfer':40} {'rows':>9} {'seconds':>8} {'rows/s':>9} {'peak MB':>8} {'DuckDB MB':>10}")

    def row(name, rows, book):
        with engine() as duckdb:
            _, memory, _, _, took = measure(book, {})
        print(f"{name:40} {rows:9,} {took:8.3f} {rows / max(took, 1e-3):9.0f} {memory:8.1f} {duckdb.peak_mb:10.1f}", flush=True)
        return memory + duckdb.peak_mb

    def out_of_postgres(folder):
        database = {"type": "duckdb", "database": f"{folder}/bench.duckdb", "table": "bench"}
        return playbook(
            head,
            {"source": table, "target": {**database, "create": True, "mode": "overwrite"}},
            {"source": database, "target": {"type": "file", "path": "bench.parquet"}},
        )

    peaks = {}
    for rows in (10_000, ROWS_MAX):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NOETL_FILES_DIR"] = folder
            for name, book in (("http -> postgres", into_postgres(rows)), ("postgres -> duckdb -> parquet", out_of_postgres(folder))):
                peaks.setdefault(name, []).append(row(name, rows, book))
    for name, (small, large) in peaks.items():
        print(f"peak memory of both, {name}, {ROWS_MAX:,} rows against 10,000 = {large / small:.2f} x   target <= 1.5 x")

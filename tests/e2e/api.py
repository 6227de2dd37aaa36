"""A client of the HTTP API, for end-to-end tests."""
import json
import pathlib
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


class Api:
    def __init__(self, base):
        self.base = base.rstrip("/") + "/api"

    def ask(self, method, path, body=None):
        """The answer, or what went wrong as a map with `error`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return {"error": error.code, "body": error.read().decode(errors="replace")}
        except OSError as error:
            return {"error": str(error)}

    def start(self, playbook, payload=None):
        """Registers a playbook, a file of ours or a map, and executes it; the id of the execution."""
        text = (ROOT / "playbooks" / playbook).read_text() if isinstance(playbook, str) else json.dumps(playbook)
        found = self.ask("POST", "/catalog/register", {"content": text})
        assert "path" in found, found
        found = self.ask("POST", "/execute", {"path": found["path"], "payload": payload or {}})
        assert "execution_id" in found, found
        return found["execution_id"]

    def status(self, execution):
        return self.ask("GET", f"/executions/{execution}?page_size=1")

    def wait(self, execution, limit_s, meanwhile=lambda: None):
        """The execution when it has ended, and the seconds that this took; `meanwhile` is called again and again."""
        begun = time.monotonic()
        while time.monotonic() - begun < limit_s:
            found = self.status(execution)
            if found.get("status") in ENDED:
                return found, time.monotonic() - begun
            meanwhile()
            time.sleep(0.2)
        raise AssertionError(f"execution {execution} has not ended after {limit_s} s: {found}")

    def run(self, playbook, payload=None, limit_s=300):
        return self.wait(self.start(playbook, payload), limit_s)

#!/usr/bin/env python3
"""The functions as they are deployed, end to end: two loops and their keys, a heavy loop, and a set of fixtures.

    tests/deployed.py TOOLS FUNCTIONS [--items 200] [--conformance SET --timeout-factor 6]

Starts `infra/local/deployed` (zips, event source mappings, an emulator of AWS), asks its API, and looks at the tables.
With NOETL_STATE=nats the states must be in NATS, and none in the table. Ends with 0 if everything is as expected.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "infra/local"))
from stack import STACK, Aws  # noqa: E402

# Seconds for the stack to come up, and for one execution.
START_S, RUN_S = 180, 300


class Api:
    def __init__(self, base):
        self.base = base.rstrip("/") + "/api"

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return {"error": error.code, "body": error.read().decode(errors="replace")}

    def run(self, file, payload):
        """Registers and executes a playbook of ours; the execution when it has ended, and its seconds."""
        text = (ROOT / "playbooks" / file).read_text()
        found = self.ask("POST", "/catalog/register", {"content": text})
        assert "path" in found, found
        begun = time.monotonic()
        found = self.ask("POST", "/execute", {"path": found["path"], "payload": payload})
        assert "execution_id" in found, found
        execution = found["execution_id"]
        while time.monotonic() - begun < RUN_S:
            found = self.ask("GET", f"/executions/{execution}")
            if found.get("status") in ("COMPLETED", "FAILED", "CANCELLED"):
                return found, time.monotonic() - begun
            time.sleep(0.2)
        raise AssertionError(f"{file}: execution {execution} has not ended after {RUN_S} s: {found}")


def partitions(aws):
    """The keys of all aggregates in the table."""
    found = aws.call("dynamodb", "DynamoDB_20120810.Scan", "1.0", TableName=f"{STACK}-state", ProjectionExpression="pk")
    keys = {item["pk"]["S"] for item in found["Items"]}
    return {key for key in keys if re.fullmatch(r"exec:\d+(:loop:.+:\d+)?", key)}


def check_isolation(api, aws, is_nats):
    found, took = api.run("loop_isolation.yaml", {})
    assert found["status"] == "COMPLETED", found
    execution = found["execution_id"]
    keys = {key for key in partitions(aws) if key.split(":")[1] == str(execution)}
    loops = sorted(re.sub(r":\d+$", "", key).split(":loop:")[1] for key in keys if ":loop:" in key)
    assert loops == ([] if is_nats else ["greet_users", "price_products"]), keys
    print(f"loop isolation: {found['status']} in {took:.1f} s; keys in the table: {sorted(keys)}")


def check_heavy(api, items):
    found, took = api.run("heavy_loop.yaml", {"workload": {"item_count": items}})
    assert found["status"] == "COMPLETED", found
    print(f"heavy loop of {items} items: {found['status']} in {took:.1f} s, {1000 * took / items:.0f} ms per item")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("functions", type=pathlib.Path)
    parser.add_argument("--items", type=int, default=200, help="items of the heavy loop")
    parser.add_argument("--conformance", type=pathlib.Path, help="a folder of fixtures beside `run.py`")
    parser.add_argument("--only", help="fixtures of it, with commas")
    parser.add_argument("--timeout-factor", default="6", help="for the fixtures")
    options = parser.parse_args()
    deployed = subprocess.Popen([ROOT / "infra/local/deployed", options.tools, options.functions], stdout=subprocess.PIPE, text=True)
    try:
        begun = time.monotonic()
        stack = json.loads(deployed.stdout.readline() or "null")
        assert stack, "the stack did not come up; see above"
        print(f"deployed {len(stack['functions'])} functions in {time.monotonic() - begun:.1f} s; logs in {stack['logs']}", flush=True)
        api, aws = Api(stack["api"]), Aws(stack["aws"])
        check_isolation(api, aws, os.environ.get("NOETL_STATE") == "nats")
        check_heavy(api, options.items)
        if options.conformance:
            command = [sys.executable, options.conformance.parent / "run.py", options.conformance, "--endpoint", stack["api"],
                       "--timeout-factor", options.timeout_factor, *(["--only", options.only] if options.only else [])]
            return subprocess.run(command).returncode
        return 0
    finally:
        deployed.terminate()
        deployed.wait(30)


sys.exit(main())

#!/usr/bin/env python3
"""The functions as they are deployed, end to end: two loops and their keys, a heavy loop, and a set of fixtures.

    tests/e2e/deployed.py TOOLS FUNCTIONS [--state nats] [--items 200] [--conformance SET --timeout-factor 6]

Starts `infra/local/deployed` (zips, event source mappings, an emulator of AWS), asks its API, and looks at the tables.
With `--state nats` the states must be in NATS, and none in the table. Needs NOETL_TEST_POSTGRES for the fixtures, and
NOETL_TEST_NATS. Ends with 0 if everything is as expected.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
import nats_keys  # noqa: E402
from api import ROOT, Api  # noqa: E402
sys.path.insert(0, str(ROOT / "infra/local"))
from stack import STACK, Aws  # noqa: E402

# Seconds for one execution.
RUN_S = 300
# Fixtures that read a file beside the playbook, which nobody has who is asked through HTTP.
BESIDE_A_FILE = {"d15"}


def partitions(aws):
    """The keys of all aggregates in the table."""
    found = aws.call("dynamodb", "DynamoDB_20120810.Scan", "1.0", TableName=f"{STACK}-state", ProjectionExpression="pk")
    keys = {item["pk"]["S"] for item in found["Items"]}
    return {key for key in keys if re.fullmatch(r"exec:\d+(:loop:.+:\d+)?", key)}


def check_isolation(api, aws, nats):
    """Two loops, each with a key of its own; as seed 000 lists them, where they are in NATS."""
    found, took = api.run("loop_isolation.yaml", limit_s=RUN_S)
    assert found["status"] == "COMPLETED", found
    execution = found["execution_id"]
    keys = {key for key in partitions(aws) if key.split(":")[1] == str(execution)}
    if nats:
        assert not keys, f"the states are in NATS, and these in the table: {keys}"
        keys = {key.replace(".", ":") for key in nats_keys.keys(nats, "noetl_execution_state") if f".{execution}" in key}
    loops = sorted(re.sub(r":\d+$", "", key).split(":loop:")[1] for key in keys if ":loop:" in key)
    assert loops == ["greet_users", "price_products"] and f"exec:{execution}" in keys, keys
    print(f"loop isolation: {found['status']} in {took:.1f} s; keys in {'NATS' if nats else 'the table'}: {sorted(keys)}", flush=True)


def check_heavy(api, items):
    found, took = api.run("heavy_loop.yaml", {"workload": {"item_count": items}}, RUN_S)
    assert found["status"] == "COMPLETED", found
    print(f"heavy loop of {items} items: {found['status']} in {took:.1f} s, {1000 * took / items:.0f} ms per item")


def conformance(endpoint, options):
    """Runs the fixtures against the API, with the credentials of the PostgreSQL of the tests."""
    found = urllib.parse.urlsplit(os.environ["NOETL_TEST_POSTGRES"])
    data = {"db_host": found.hostname, "db_port": str(found.port), "db_user": found.username, "db_password": found.password,
            "db_name": found.path.strip("/")}
    with tempfile.TemporaryDirectory() as folder:
        shared = pathlib.Path(folder, "conformance")
        shutil.copytree(options.conformance.parent, shared)
        for name in ("pg_local", "pg_k8s"):
            text = json.dumps({"name": name, "type": "postgres", "data": data})
            (shared / "credentials" / f"{name}.json").write_text(text, encoding="utf-8")
        only = options.only or ",".join(sorted(one.name[:3] for one in (shared / options.conformance.name).iterdir() if one.name[:3] not in BESIDE_A_FILE))
        command = [sys.executable, shared / "run.py", shared / options.conformance.name, "--endpoint", endpoint,
                   "--timeout-factor", options.timeout_factor, "--only", only]
        return subprocess.run(command, env={**os.environ, "CONFORMANCE_PG": os.environ["NOETL_TEST_POSTGRES"]}).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("functions", type=pathlib.Path)
    parser.add_argument("--state", default="dynamodb", choices=["dynamodb", "nats"])
    parser.add_argument("--items", type=int, default=200, help="items of the heavy loop")
    parser.add_argument("--conformance", type=pathlib.Path, help="a folder of fixtures beside `run.py`")
    parser.add_argument("--only", help="fixtures of it, with commas")
    parser.add_argument("--timeout-factor", default="6", help="for the fixtures")
    options = parser.parse_args()
    nats = os.environ["NOETL_TEST_NATS"] if options.state == "nats" else None
    env = {**os.environ, "NOETL_STATE": options.state, **({"NOETL_NATS_URL": nats} if nats else {})}
    command = [ROOT / "infra/local/deployed", options.tools, options.functions]
    deployed = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        begun = time.monotonic()
        stack = json.loads(deployed.stdout.readline() or "null")
        assert stack, "the stack did not come up; see above"
        print(f"deployed {len(stack['functions'])} functions in {time.monotonic() - begun:.1f} s; logs in {stack['logs']}", flush=True)
        api, aws = Api(stack["api"]), Aws(stack["aws"])
        check_isolation(api, aws, nats)
        check_heavy(api, options.items)
        if options.conformance and options.conformance.is_dir():
            return conformance(stack["api"], options)
        print("SKIPPED LOUDLY: no conformance fixtures beside the project")
        return 0
    finally:
        deployed.terminate()
        deployed.wait(30)


sys.exit(main())

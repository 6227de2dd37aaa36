#!/usr/bin/env python3
"""Every message is accounted for: sent = applied + ignored + dead-lettered.

    tests/e2e/accounts.py TOOLS FUNCTIONS

Sends inputs, copies, inputs that change nothing, and messages that can never be ours to the queue of events, lets
executions run besides, and compares what went in with what the functions tell of it in their metrics.
"""
import argparse
import collections
import json
import pathlib
import sys
import time
import uuid

sys.dont_write_bytecode = True
from deployment import Deployment  # noqa: E402
from stack import RECEIVES, STACK  # noqa: E402

# Seconds for poison to come out as dead letters: it comes back after a second each time.
DEAD_S = 120
STEPS, EXECUTIONS = 5, 4
PLAYBOOK = {
    "apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "accounts", "path": "tests/accounts"},
    "workflow": [{"step": "start" if n == 0 else f"s{n}", "tool": {"kind": "noop"}, **({"next": f"s{n + 1}"} if n + 1 < STEPS else {})}
                 for n in range(STEPS)]}


def cancel(execution, version=1):
    """An input that an execution which has ended ignores."""
    return json.dumps({"v": version, "envelope": {"id": "c", "to": f"exec:{execution}", "input": {"input": "cancel", "reason": "late"}}})


def poison(execution):
    """Messages that nobody can read, and the group that they come in."""
    whole = cancel(execution)
    return [
        ("noise", "\ufffd" * 300_000), ("not-ours", '{"hello": 1}'), ("truncated", whole[:len(whole) // 2]),
        ("future", cancel(execution, 9)), ("forged", whole), ("command", json.dumps({"v": 1, "command": {}})),
    ]


def send(deployment, group, body):
    url = deployment.env["NOETL_EVENTS_QUEUE_URL"]
    deployment.aws.call("sqs", "AmazonSQS.SendMessage", "1.0", QueueUrl=url, MessageBody=body, MessageGroupId=group,
                        MessageDeduplicationId=uuid.uuid4().hex)


def told(deployment):
    """The sums of all metrics, and how many commands were answered."""
    sums = collections.Counter()
    for name in ("event-handler", "dead-letter", "worker-noop"):
        path = deployment.folder / f"{name}.log"
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                continue
            for metric in found.get("_aws", {}).get("CloudWatchMetrics", [{}])[0].get("Metrics", []):
                value = found[metric["Name"]]
                sums[metric["Name"]] += sum(value) if isinstance(value, list) else value
            sums["answers"] += found.get("message") == "command answered"
    return sums


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("functions", type=pathlib.Path)
    options = parser.parse_args()
    with Deployment(options.tools, options.functions) as deployment:
        executions = [deployment.api.start(PLAYBOOK) for _ in range(EXECUTIONS)]
        for execution in executions:
            found, _ = deployment.api.wait(execution, DEAD_S)
            assert found["status"] == "COMPLETED", found
        dead = poison(executions[0])
        for group, body in dead:
            send(deployment, group, body)
        cancels = 3 * len(executions)
        for execution in executions * 3:
            send(deployment, f"exec:{execution}", cancel(execution))
        begun = time.monotonic()
        while True:
            sums = told(deployment)
            # Starts, what workers answered, and what this test has sent.
            sent = len(executions) + sums["answers"] + len(dead) + cancels
            handled = sums["InputsApplied"] + sums["InputsIgnored"] + sums["DeadLetters"]
            if sent == handled and sums["DeadLetters"] == len(dead):
                break
            assert time.monotonic() - begun < DEAD_S, f"sent {sent}, handled {handled}: {dict(sums)}; logs in {deployment.folder}"
            time.sleep(0.5)
        assert sums["answers"] == STEPS * len(executions), dict(sums)
        assert sums["InputsIgnored"] >= cancels, dict(sums)
        print(f"sent {sent} = applied {sums['InputsApplied']} + ignored {sums['InputsIgnored']} + dead-lettered {sums['DeadLetters']}"
              f" (each after {RECEIVES} deliveries, from {STACK}-events-dead.fifo)")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A chain of steps longer than Lambda lets a chain of calls be: the template's flag is what lets it live.

    tests/e2e/chain.py TOOLS FUNCTIONS [--steps 1000]

Runs the playbook twice against an emulation of Lambda's recursive loop detection: with the flags of infra/template.yaml
the execution completes, without them it is ended after 16 calls, as on AWS.
"""
import argparse
import pathlib
import re
import sys
import time

sys.dont_write_bytecode = True
from deployment import ROOT, Deployment  # noqa: E402

# Seconds for the chain, and for a chain without the flag to go no further.
CHAIN_S, QUIET_S = 600, 60


def playbook(steps):
    names = ["start", *(f"s{number}" for number in range(1, steps))]
    workflow = [{"step": name, "tool": {"kind": "noop"}} for name in names]
    for step, following in zip(workflow, names[1:]):
        step["next"] = following
    return {"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "chain", "path": "tests/chain"}, "workflow": workflow}


def allowed():
    """Whether the template lets a function be part of a recursion: one flag for all, which a test of the template proves."""
    return re.search(r"^\s+RecursiveLoop: Allow$", (ROOT / "infra/template.yaml").read_text(), re.MULTILINE) is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("functions", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    with Deployment(options.tools, options.functions, allows=lambda name: False) as deployment:
        execution, begun = deployment.api.start(playbook(options.steps)), time.monotonic()
        while deployment.service.recursions == 0:
            assert time.monotonic() - begun < QUIET_S, deployment.api.status(execution)
            time.sleep(0.1)
        found = deployment.api.status(execution)
        assert found["status"] == "RUNNING", found
        print(f"without the flag: ended by Lambda after {max(deployment.service.chains.values()) - 1} calls of one function")
    flag = allowed()
    assert flag, "infra/template.yaml does not say `RecursiveLoop: Allow`"
    with Deployment(options.tools, options.functions, allows=lambda name: flag) as deployment:
        found, took = deployment.api.run(playbook(options.steps), limit_s=CHAIN_S)
        assert found["status"] == "COMPLETED", found
        calls = dict(deployment.service.invocations)
        print(f"with the flag: {options.steps} steps {found['status']} in {took:.1f} s, {calls['event-handler']} calls of event-handler,"
              f" {calls['worker-noop']} of worker-noop")


if __name__ == "__main__":
    main()

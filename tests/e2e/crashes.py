#!/usr/bin/env python3
"""Processes of functions are killed at random moments while a loop runs: every item has one outcome.

    tests/e2e/crashes.py TOOLS FUNCTIONS [--rounds 20] [--items 1000] [--state dynamodb] [--seed N]

With `--state nats` the server of the states is killed and started again besides, on the files that it left. Ends with 0
if every round is as expected.
"""
import argparse
import collections
import pathlib
import random
import sys
import time

sys.dont_write_bytecode = True
from deployment import Deployment  # noqa: E402

# Seconds for one round. What is killed costs a visibility timeout.
ROUND_S = 240
# Functions of which processes are killed.
TARGETS = ("event-handler", "worker-python", "worker-noop")
PAGE = 500


def playbook(items):
    """One loop of frames in flight side by side, and a step that refuses an aggregate that is not whole."""
    return {
        "apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "crashes", "path": "tests/crashes"},
        "workload": {"items": items},
        "workflow": [
            {"step": "start", "tool": {"kind": "noop"}, "next": "work"},
            {"step": "work",
             "loop": {"in": "{{ range(workload.items) | list }}", "iterator": "n", "spec": {"mode": "parallel", "max_in_flight": 64}},
             "tool": {"kind": "python", "args": {"n": "{{ n }}"}, "code": "import time\ntime.sleep(0.002)\nresult = {'n': n}"},
             "next": "check"},
            {"step": "check", "tool": {
                "kind": "python", "args": {"done": "{{ work }}"},
                "code": "result = {'whole': [one['n'] for one in done['results']] == list(range(len(done['results']))),"
                        " 'count': len(done['results'])}"}}]}


def outcomes(api, execution):
    """How many outcomes each item of the loop has in the execution's events."""
    found, page = collections.Counter(), 1
    while True:
        view = api.ask("GET", f"/executions/{execution}?page={page}&page_size={PAGE}")
        assert "events" in view, view
        for event in view["events"]:
            if event["event_type"] in ("iteration_completed", "iteration_failed"):
                found[event["current_index"]] += 1
        if len(view["events"]) < PAGE:
            return found
        page += 1


class Reaper:
    """Kills something every now and then."""

    def __init__(self, deployment, chance, kills):
        self.deployment, self.chance, self.left, self.at = deployment, chance, kills, 0.0
        self.killed = collections.Counter()

    def tick(self):
        if self.left == 0 or time.monotonic() < self.at:
            return
        names = [*TARGETS, "nats"] if self.deployment.state == "nats" else list(TARGETS)
        name = self.chance.choice(names)
        if name == "nats":
            self.deployment.kill_nats()
            self.deployment.start_nats()
        elif not self.deployment.service.kill({name}, self.chance):
            return
        self.killed[name] += 1
        self.left -= 1
        self.at = time.monotonic() + self.chance.uniform(0.05, 1.0)


def one_round(deployment, chance, items, kills):
    reaper = Reaper(deployment, chance, kills)
    execution = deployment.api.start(playbook(items))
    ended, took = deployment.api.wait(execution, ROUND_S, reaper.tick)
    assert ended["status"] == "COMPLETED", ended
    found = outcomes(deployment.api, execution)
    odd = {index: count for index, count in found.items() if count != 1}
    assert len(found) == items and not odd, f"{len(found)} items have an outcome; more than one: {odd}"
    result = ended.get("result")
    assert result and result["whole"] and result["count"] == items, ended
    return took, reaper.killed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("functions", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=6, help="of each round")
    parser.add_argument("--state", default="dynamodb", choices=["dynamodb", "nats"])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}, states in {options.state}", flush=True)
    chance = random.Random(options.seed)
    with Deployment(options.tools, options.functions, options.state) as deployment:
        try:
            for number in range(options.rounds):
                took, killed = one_round(deployment, chance, options.items, options.kills)
                killed = ", ".join(f"{name} {count}" for name, count in sorted(killed.items()))
                print(f"round {number + 1}: {options.items} items, each with one outcome, in {took:.1f} s; killed: {killed}", flush=True)
        except BaseException:
            print(f"logs are in {deployment.folder}", file=sys.stderr)
            raise
        total = sum(deployment.service.killed.values())
        print(f"{options.rounds} rounds passed; {total} processes of functions were killed")


if __name__ == "__main__":
    main()

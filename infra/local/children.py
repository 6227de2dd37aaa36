"""Processes that a script starts, watches and ends."""
import os
import signal
import socket
import subprocess
import sys
import time

from stack import Failed

# Seconds for a server to come up, and for a process to end when it is told to.
START_S, END_S = 60, 5


def say(text):
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Children:
    """Processes that were started here, each the head of a group of its own; the last one ends first."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def start(self, name, command, env=None, port=None, cwd=None):
        with open(self.folder / f"{name}.log", "wb") as log:
            child = subprocess.Popen(command, cwd=cwd or self.folder, env=env, stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.running.append((name, child))
        with open(self.folder / "processes", "a", encoding="utf-8") as processes:
            processes.write(f"{child.pid} {name}\n")
        if port:
            self.wait(name, lambda: not socket.create_connection(("127.0.0.1", port), 1).close())

    def kill(self, name):
        """Kills a process that may be started again under its name."""
        for entry in [entry for entry in self.running if entry[0] == name]:
            self.running.remove(entry)
            entry[1].kill()
            entry[1].wait()

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def wait(self, name, is_ready):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.look()
            try:
                if is_ready():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise Failed(f"{name} did not start in {START_S} s; its log:\n{self.log(name)[-2000:]}")

    def look(self):
        for name, child in self.running:
            if child.poll() is not None:
                raise Failed(f"{name} ended with {child.returncode}; its log:\n{self.log(name)[-2000:]}")

    def end(self):
        # Asking twice ends nothing sooner, and would leave some behind.
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, signal.SIG_IGN)
        for _name, child in reversed(self.running):
            child.send_signal(signal.SIGINT)
            try:
                child.wait(END_S)
            except subprocess.TimeoutExpired:
                pass
            try:  # Whatever it started and left behind.
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()

"""Lambda on this machine, as far as a function sees it: it is invoked, and its process asks the Runtime API for work.

Programs run as they are deployed, one event at a time each, and may be killed at any moment, as a test wishes: the caller
is then told `Runtime.ExitError`, as Lambda does. Source: AWS Lambda developer guide, "Using the Lambda runtime API".
"""
import asyncio
import collections
import contextlib
import json
import os
import random
import re
import signal
import threading
import time
import uuid

# Seconds that an invocation may take, whatever the function says of itself.
INVOCATION_S = 900
# Calls of one chain after which Lambda ends it, where a function does not say `RecursiveLoop: Allow`.
CHAIN_MAX = 16


class Process:
    """One process of a function."""

    def __init__(self, name, number):
        self.name, self.number = name, number
        self.child = None
        self.begun = time.monotonic()
        self.ready_s = None
        # The invocation that it works on.
        self.current = None


class Invocation:
    def __init__(self, name, body):
        self.id, self.name, self.body = str(uuid.uuid4()), name, body
        self.answer = asyncio.get_running_loop().create_future()

    def settle(self, *answer):
        if not self.answer.done():
            self.answer.set_result(answer)


class LambdaService:
    """Invokes the programs in a folder. `concurrency` bounds the processes of each; `allows` is `RecursiveLoop` by name."""

    def __init__(self, programs, env, folder, concurrency=4, allows=lambda name: True):
        self.programs, self.env, self.folder = programs, env, folder
        self.concurrency, self.allows = concurrency, allows
        self.processes, self.numbers = {}, 0
        self.waiting = collections.defaultdict(collections.deque)
        self.idle = collections.defaultdict(collections.deque)
        self.chains = collections.Counter()
        self.invocations, self.killed, self.recursions = collections.Counter(), collections.Counter(), 0
        self.is_ending = False
        self.loop = asyncio.new_event_loop()
        is_up = threading.Event()
        self.thread = threading.Thread(target=self._run, args=[is_up], daemon=True)
        self.thread.start()
        is_up.wait()

    # --- for the test, from its own thread ---------------------------------------------------------------------------

    def kill(self, names, chance=random):
        """Kills one process of these functions, one that works if there is any; the name of its function, if one was there."""
        def one():
            there = [process for process in self.processes.values() if process.name in names and process.child]
            busy = [process for process in there if process.current]
            if not there:
                return None
            process = chance.choice(busy or there)
            with contextlib.suppress(ProcessLookupError):
                process.child.send_signal(signal.SIGKILL)
            self.killed[process.name] += 1
            return process.name
        return self._ask(one)

    def ready_s(self):
        """Seconds from the start of each process to its first request for work, by function."""
        def all_of_them():
            found = collections.defaultdict(list)
            for process in self.processes.values():
                if process.ready_s is not None:
                    found[process.name].append(process.ready_s)
            return dict(found)
        return self._ask(all_of_them)

    def spawn(self, name):
        """Starts a process that nobody invokes."""
        asyncio.run_coroutine_threadsafe(self._spawn(name), self.loop).result(30)

    def end(self):
        async def all_of_them():
            self.is_ending = True
            for process in self.processes.values():
                if process.child:
                    with contextlib.suppress(ProcessLookupError):
                        process.child.kill()
            while any(process.child for process in self.processes.values()):
                await asyncio.sleep(0.01)
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(all_of_them(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)

    def _ask(self, call):
        async def called():
            return call()
        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(30)

    # --- the server --------------------------------------------------------------------------------------------------

    def _run(self, is_up):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 24))
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        is_up.set()
        self.loop.run_forever()

    async def _connection(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                method, path, body = await read_request(reader)
                status, headers, answer = await self._route(method, path, body, reader)
                head = f"HTTP/1.1 {status} _\r\ncontent-length: {len(answer)}\r\ncontent-type: application/json\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(head.encode() + b"\r\n" + answer)
                await writer.drain()
        writer.close()

    async def _route(self, method, path, body, reader):
        if found := re.fullmatch(r"/2015-03-31/functions/([\w-]+)/invocations", path):
            return await self._invoke(found[1], body)
        if found := re.fullmatch(r"/p/(\d+)/2018-06-01/runtime/(.+)", path):
            process = self.processes[int(found[1])]
            if found[2] == "invocation/next":
                return await self._next(process, reader)
            if found[2] == "init/error":
                return 202, {}, b"{}"
            _, wanted, kind = found[2].split("/")
            if process.current and process.current.id == wanted:
                headers = {"x-amz-function-error": "Unhandled"} if kind == "error" else {}
                process.current.settle(200, headers, body)
                process.current = None
            return 202, {}, b"{}"
        return 404, {}, json.dumps({"message": f"no route {method} {path}"}).encode()

    async def _invoke(self, name, body):
        if not (self.programs / name).is_file():
            return 404, {}, json.dumps({"Type": "User", "message": f"Function not found: {name}"}).encode()
        body = self._unless_recursive(name, body)
        if body is None:
            return 200, {}, b"{}"
        self.invocations[name] += 1
        invocation = Invocation(name, body)
        self.waiting[name].append(invocation)
        await self._dispatch(name)
        try:
            return await asyncio.wait_for(invocation.answer, INVOCATION_S)
        except asyncio.TimeoutError:
            return 200, {"x-amz-function-error": "Unhandled"}, b'{"errorType": "Sandbox.Timedout"}'

    def _unless_recursive(self, name, body):
        """The event without the messages of chains that are too long; none if none is left."""
        if self.allows(name) or b'"Records"' not in body:
            return body
        event, left = json.loads(body), []
        for record in event["Records"]:
            # Lambda reads the chain from a trace header that SDKs hand on; here it is the execution.
            chain = re.search(r"exec:-?\d+", record["body"] + record["attributes"].get("MessageGroupId", ""))
            self.chains[name, chain and chain[0]] += 1
            if self.chains[name, chain and chain[0]] > CHAIN_MAX:
                self.recursions += 1
            else:
                left.append(record)
        return json.dumps({"Records": left}).encode() if left else None

    async def _dispatch(self, name):
        waiting, idle = self.waiting[name], self.idle[name]
        while waiting and idle:
            process, turn = idle.popleft()
            if not turn.done():
                turn.set_result(waiting.popleft())
        alive = sum(1 for process in self.processes.values() if process.name == name and process.child)
        if waiting and alive < self.concurrency:
            await self._spawn(name)

    async def _next(self, process, reader):
        if process.ready_s is None:
            process.ready_s = time.monotonic() - process.begun
        turn = self.loop.create_future()
        self.idle[process.name].append((process, turn))
        await self._dispatch(process.name)
        # A process that died asks for nothing any more.
        while not turn.done():
            await asyncio.wait([turn], timeout=0.2)
            if process.child is None or reader.at_eof():
                if turn.done():
                    break
                turn.cancel()
                raise ConnectionError
        invocation = turn.result()
        if process.child is None:
            self.waiting[process.name].appendleft(invocation)
            await self._dispatch(process.name)
            raise ConnectionError
        process.current = invocation
        return 200, {
            "lambda-runtime-aws-request-id": invocation.id,
            "lambda-runtime-deadline-ms": int((time.time() + INVOCATION_S) * 1000),
            "lambda-runtime-invoked-function-arn": f"arn:aws:lambda:us-east-1:000000000000:function:{process.name}",
            "lambda-runtime-trace-id": "Root=1-00000000-000000000000000000000000",
        }, invocation.body

    async def _spawn(self, name):
        self.numbers += 1
        process = self.processes[self.numbers] = Process(name, self.numbers)
        env = {**self.env, "AWS_LAMBDA_RUNTIME_API": f"{self.url}/p/{process.number}", "AWS_LAMBDA_FUNCTION_NAME": name,
               "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
        with open(self.folder / f"{name}.log", "ab") as log:
            process.begun = time.monotonic()
            process.child = await asyncio.create_subprocess_exec(
                self.programs / name, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        with open(self.folder / "processes", "a", encoding="utf-8") as processes:
            processes.write(f"{process.child.pid} {name}\n")
        asyncio.ensure_future(self._mourn(process))

    async def _mourn(self, process):
        child = process.child
        status = await child.wait()
        process.child = None
        with contextlib.suppress(ProcessLookupError):  # Interpreters and others that it left behind.
            os.killpg(child.pid, signal.SIGKILL)
        error = json.dumps({"errorType": "Runtime.ExitError", "errorMessage": f"the process ended with {status}"}).encode()
        lost = [process.current] if process.current else []
        if process.ready_s is None and self.waiting[process.name]:
            # It could not even begin, as the next one could not.
            lost.append(self.waiting[process.name].popleft())
        for invocation in lost:
            invocation.settle(200, {"x-amz-function-error": "Unhandled"}, error)
        process.current = None
        self.idle[process.name] = collections.deque(one for one in self.idle[process.name] if one[0] is not process)
        if not self.is_ending:
            await self._dispatch(process.name)


async def read_request(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        # Trailers, of which the Rust runtime sends none without an error.
        while (await reader.readline()).strip():
            pass
        return method, path, body
    return method, path, await reader.readexactly(int(headers.get("content-length", 0)))

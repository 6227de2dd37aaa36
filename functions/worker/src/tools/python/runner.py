"""Runs playbook code, one call after the other, each in a namespace of its own.

The parent speaks over private copies of stdin and stdout: a length (4 bytes, big endian), then
JSON. The code's own stdout and stderr are one pipe that the parent reads; a marker ends each call.
The second half of one program: it uses the imports and the functions of `contract.py`.
"""


def limits(config):
    import resource

    wanted = {
        "RLIMIT_AS": config["memory_bytes"],
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": config["file_bytes"],
        "RLIMIT_NOFILE": config["open_files"],
    }
    for name, value in wanted.items():
        try:
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            if hard != resource.RLIM_INFINITY:
                value = min(value, hard)
            resource.setrlimit(kind, (value, value))
        except (AttributeError, ValueError, OSError):
            # A system without this limit, or with a lower one of its own.
            pass


# What the code may keep of root's powers, as bits: those over files, users and its own processes.
KEPT = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 10))


def confine():
    """Adopts orphans, and gives up the powers that reach into other processes and the system.

    The kernel shows memory and environment of a process only to those who have all powers that it has.
    """
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        # Orphans of the code's processes become our children, so that they can be found.
        libc.prctl(36, 1, 0, 0, 0)
        # No program that is started has more powers than this one.
        libc.prctl(38, 1, 0, 0, 0)
        for bit in range(64):
            if not KEPT >> bit & 1:
                libc.prctl(24, bit, 0, 0, 0)
        head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if libc.capget(head, sets) == 0:
            for place in range(6):
                sets[place] &= KEPT & 0xFFFFFFFF if place < 3 else 0
            libc.capset(head, sets)
    except (ImportError, OSError, AttributeError):
        # A system without them.
        pass


def has_children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    except ChildProcessError:
        return False


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


class Wire:
    """Private copies of stdin and stdout; the code gets others in their place."""

    def __init__(self):
        import fcntl

        def private(fd):
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200)

        self.reading, self.writing, self.capture = private(0), private(1), private(2)
        null = os.open(os.devnull, os.O_RDWR)
        self.null = private(null)
        os.close(null)
        self.marker = f"\0{os.urandom(12).hex()}\0".encode()
        self.reset()

    def reset(self):
        os.dup2(self.null, 0)
        os.dup2(self.capture, 1)
        os.dup2(self.capture, 2)

    def receive(self, size):
        parts = []
        while size:
            part = os.read(self.reading, min(size, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def request(self):
        (size,) = struct.unpack(">I", self.receive(4))
        return json.loads(self.receive(size))

    def send(self, *frames):
        data = b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)
        self.write(self.writing, data)

    def mark(self):
        self.write(self.capture, self.marker)

    def write(self, fd, data):
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


class Surroundings:
    """What code can change for the next one, and how it was."""

    def __init__(self):
        self.environ = dict(os.environ)
        self.expected = self.raw_environ()
        self.directory = os.getcwd()
        self.path = list(sys.path)
        self.recursion = sys.getrecursionlimit()
        self.mask = os.umask(0o077)
        os.umask(self.mask)

    @staticmethod
    def raw_environ():
        """A copy of the environment, without decoding it where that can be avoided."""
        return dict(getattr(os.environ, "_data", os.environ))

    def enter(self, request):
        if self.raw_environ() != self.expected:
            os.environ.clear()
            os.environ.update(self.environ)
        os.environ["NOETL_COMMAND_ID"] = request["key"]
        os.environ["HOME"] = os.environ["TMPDIR"] = request["folder"]
        if "tempfile" in sys.modules:
            # It remembers the folder of the execution before.
            sys.modules["tempfile"].tempdir = None
        self.expected = self.raw_environ()
        if sys.path != self.path:
            sys.path[:] = self.path
        try:
            if os.getcwd() != self.directory:
                os.chdir(self.directory)
        except OSError:
            os.chdir(self.directory)
        os.umask(self.mask)
        sys.setrecursionlimit(self.recursion)
        signal.alarm(0)
        sys.settrace(None)
        sys.setprofile(None)


def fresh_streams(wire, own=[]):
    """Text streams of our own: the code may have closed or replaced those before."""
    wire.reset()
    try:
        if [sys.stdin, sys.stdout, sys.stderr] == own and not any(each.closed for each in own):
            return
    except ValueError:
        # A stream without its buffer does not even say that it is closed.
        pass
    sys.stdin = open(0, "r", encoding="utf-8", errors="replace", closefd=False)
    # By lines, so that what was printed before a kill is not lost.
    sys.stdout = open(1, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = sys.stdout
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stdout
    own[:] = [sys.stdin, sys.stdout, sys.stderr]


def flush():
    for stream in {sys.stdout, sys.stderr}:
        try:
            stream.flush()
        except BaseException:
            pass


def source_of(request):
    packed = request.get("code_base64")
    if packed:
        try:
            request["code"] = base64.b64decode(packed, validate=True).decode("utf-8")
        except ValueError:
            raise Refused("`code_b64` is not base64 of UTF-8 text") from None
    lines = request["code"].splitlines(True)
    linecache.cache[request["file"]] = (len(request["code"]), None, lines, request["file"])


def answer(request):
    filename = request["file"]
    try:
        source_of(request)
        value = run(request, filename)
        result = encoded(value)
        if len(result) > request["result_bytes_max"]:
            raise NotJson(
                f"the result is {len(result)} bytes long, and {request['result_bytes_max']} are "
                f"allowed; write it to a file or a table and return where it is"
            )
        return {"ok": True}, result
    except BaseException as error:
        return dict(failure(error, filename), ok=False), b"null"


def serve():
    wire = Wire()
    fresh_streams(wire)
    config = wire.request()
    sys.path.extend(path for path in config["paths"] if path not in sys.path)
    limits(config)
    confine()
    me, surroundings = os.getpid(), Surroundings()
    hello = {"marker": wire.marker.hex(), "pid": me, "executable": sys.executable or ""}
    wire.send(json.dumps(hello).encode())
    while True:
        request = wire.request()
        surroundings.enter(request)
        header, result = answer(request)
        if os.getpid() != me:
            # A fork that came back from the code; only its parent may answer.
            os._exit(0)
        flush()
        sys.modules.pop(MODULE, None)
        reap()
        header["children"] = has_children()
        header["threads"] = len(sys._current_frames()) > 1
        fresh_streams(wire)
        wire.mark()
        wire.send(json.dumps(header).encode(), result)


serve()

"""What the tests of the command line share: running the real binary, claims, TAP.

A test file imports from here, writes functions named test_…, whose docstring is the claim, and
ends with main(). Each test gets a Stele of its own: an empty directory to work in, with the store
"stele-data" not there yet. Arguments: the binary, the source directory, the library that makes
calls of the system fail (see faults.c), and if wanted a part of the names of tests to run.
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BINARY = os.path.abspath(sys.argv[1])
SOURCE = os.path.abspath(sys.argv[2])
FAULTS = os.path.abspath(sys.argv[3])

# Seconds. Nothing takes that long unless it hangs, on a busy machine and under a sanitizer, too.
HANGS = 300

ID = "01234567-89ab-7def-8123-456789abcd%02x"


class Ended:
    """How a run of the binary ended."""

    def __init__(self, code, out, err):
        self.code, self.raw_out, self.err = code, out, err.decode("utf-8", "replace")

    @property
    def out(self):
        return self.raw_out.decode("utf-8", "replace")

    @property
    def lines(self):
        return self.out.split("\n")[:-1]  # Not splitlines(), which knows further line ends.

    @property
    def json(self):
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.lines]

    @property
    def failure(self):
        """The JSON object on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"one line was expected on standard error: {self.err!r}"
        return json.loads(lines[0])


class Stele:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="stele-cli.")
        self.env = {
            "PATH": os.path.dirname(BINARY) + ":/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": self.dir,
            "TERM": "xterm",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return name

    def lines(self, name, events):
        return self.write(name, "".join(json.dumps(event) + "\n" for event in events))

    def faulty(self, **faults):
        """The environment in which calls of the system fail."""
        asan = self.env.get("ASAN_OPTIONS", "")
        return {
            "LD_PRELOAD": FAULTS,
            "ASAN_OPTIONS": (asan + ":" if asan else "") + "verify_asan_link_order=0",
            **{"FAULT_" + name: str(value) for name, value in faults.items()},
        }

    def start(self, *args, env=None, prefix=(), binary=None, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(
            [*prefix, binary or BINARY, *args], cwd=self.dir, env={**self.env, **(env or {})}, **kwargs
        )

    def run(self, *args, stdin=None, code=0, env=None, timeout=HANGS, **kwargs):
        """Runs it to its end; the exit code has to be `code` (None: any)."""
        if stdin is not None:
            kwargs["stdin"] = subprocess.PIPE
            stdin = stdin if isinstance(stdin, bytes) else stdin.encode()
        process = self.start(*args, env=env, **kwargs)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"stele {' '.join(map(repr, args))} did not end") from None
        ended = Ended(process.returncode, out or b"", err or b"")
        if code is not None:
            assert ended.code == code, (
                f"stele {' '.join(map(repr, args))}: exit code {ended.code} instead of {code}\n"
                f"{ended.out[:1000]}{ended.err[:1000]}"
            )
        return ended

    def shell(self, command, code=0, timeout=HANGS):
        ended = subprocess.run(
            ["bash", "-c", command], cwd=self.dir, env=self.env, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=timeout,
        )
        assert code is None or ended.returncode == code, (
            f"{command}\nexit code {ended.returncode} instead of {code}\n"
            f"{ended.stdout.decode()}{ended.stderr.decode()}"
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def append(self, stream, *types, data="{}"):
        for kind in types:
            self.run("append", stream, "--type", kind, "--data", data)

    def terminal(self, *args, env=None, keys=None, after=b"", timeout=HANGS):
        """Runs it with its output on a terminal. keys are typed once `after` has been shown."""
        master, slave = pty.openpty()
        process = self.start(*args, env=env, stdin=slave, stdout=slave, stderr=slave,
                             start_new_session=True,
                             preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0))
        os.close(slave)
        shown = b""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if keys is not None and after in shown:
                os.write(master, keys)
                keys = None
            ready, _, _ = select.select([master], [], [], 0.05)
            if ready:
                try:
                    piece = os.read(master, 65536)
                except OSError:
                    break
                if not piece:
                    break
                shown += piece
        os.close(master)
        try:
            process.wait(timeout=HANGS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it did not end; shown was {shown!r}") from None
        return Ended(process.returncode, shown, b"")

    def remove(self):
        subprocess.run(["chmod", "-R", "u+rwX", self.dir], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


def same(got, want):
    assert got == want, f"got  {got!r}"[:3000] + f"\nwant {want!r}"[:3000]


def has(text, part):
    assert part in text, f"no {part!r} in {text!r}"


def hasnt(text, part):
    assert part not in text, f"{part!r} in {text!r}"


def one_line(text):
    """A failure is one line and says what, why, and what to do next."""
    assert re.fullmatch(r"stele: [^\n]*: [^\n]*[;?] ?[^\n]*\n", text), f"not of the form: {text!r}"


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def become_nobody():
    """Run as a user to whom permissions apply."""
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)


kept_ports = {}


def keep_port(port):
    """Whether the port is free, and this process's until it ends: whatever it starts there may end and come again.

    UDP's port of that number, which nothing here uses, is held for it: so every other test sees that it is given away,
    whichever moment it asks at, and it is free again when this process is gone."""
    if port in kept_ports:
        return False
    keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        keeper.bind(("127.0.0.1", port))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        keeper.close()
        return False
    kept_ports[port] = keeper
    return True


def free_ports(count):
    """Ports for programs that have to be told theirs, of those that the system gives to no client by itself."""
    start = 20000 + os.getpid() * 61 % 9000
    ports = []
    for port in range(start, start + 3000):
        if keep_port(port):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError("no free ports")


def wait_until(condition, seconds=HANGS):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def main(module):
    wanted = sys.argv[4] if len(sys.argv) > 4 else ""
    tests = [
        (name, function)
        for name, function in vars(module).items()
        if name.startswith("test_") and wanted in name
    ]
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        stele = Stele()
        try:
            function(stele)
            print(f"ok {number} - {function.__doc__ or name}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {function.__doc__ or name}")
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
        finally:
            stele.remove()
    sys.exit(1 if failed else 0)


def interrupt(process):
    os.kill(process.pid, signal.SIGINT)

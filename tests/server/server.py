"""The server as a process, for tests."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import BINARY, HANGS, same  # noqa: E402

with open(BINARY, "rb") as binary:
    code = binary.read()
    SLOW = b"__tsan_init" in code
    SANITIZED = b"__asan_init" in code or b"__tsan_init" in code
# The search for leaks looks at the process from outside, which the sandbox does not allow.
USUAL = ["--no-sandbox"] if SANITIZED else []


class Server:
    def __init__(self, stele, *args, env=None):
        self.stele = stele
        self.process = stele.start("serve", "--port", "0", *USUAL, *args, env=env,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = ""
        while not (found := re.search(r"127\.0\.0\.1:(\d+)", self.output)):
            line = self.process.stdout.readline().decode()
            assert line, f"the server ended: {self.output}"
            self.output += line
        self.port = int(found[1])
        self.reader = threading.Thread(target=self.read_on, daemon=True)
        self.reader.start()

    def read_on(self):
        for line in self.process.stdout:
            self.output += line.decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        same(self.process.wait(HANGS), 0)

    def wait_for(self, words):
        deadline = time.monotonic() + HANGS
        while words not in self.output:
            assert time.monotonic() < deadline, f"no {words!r} in {self.output!r}"
            time.sleep(0.01)

    def get(self, path="/health/live", context=None, method="GET"):
        if context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGS)
        else:
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=HANGS,
                                                     context=context)
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def status(self, name):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"{name}:\s+(\d+)", file.read())[1])


def certificate(s, name, cn):
    s.write("openssl.cnf", "[req]\ndistinguished_name=dn\n[dn]\n")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2",
         "-subj", f"/CN={cn}", "-addext", "subjectAltName=DNS:localhost",
         "-config", "openssl.cnf"], cwd=s.dir, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)

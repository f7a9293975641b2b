"""libstele's remote stores over TLS: whom they believe, what they say if they do not, and that bytes
arrive whole."""

import subprocess
import sys

from client import Server
from harness import has, main, same


def certificate(stele, name, names="DNS:localhost,IP:127.0.0.1"):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "2", "-subj", "/CN=somebody", "-addext",
                    f"subjectAltName={names}", "-keyout", stele.path(name + ".key"),
                    "-out", stele.path(name + ".pem")], check=True, capture_output=True)


class Secure(Server):
    """A server that speaks TLS only; the test's own client stays away."""

    def __init__(self, stele, *args):
        super().__init__(stele, "--tls-certificate", "server.pem", "--tls-key", "server.key", *args)

    def address(self, host="localhost", **options):
        options = {"tls": "true", "tlsCAFile": "server.pem", **options}
        return f"stele://{host}:{self.port}?" + "&".join(
            f"{name}={value}" for name, value in options.items() if value is not None)


def test_whom_it_believes(stele):
    """the server's certificate has to be signed by who is trusted, and be for the host or its address"""
    certificate(stele, "server")
    certificate(stele, "other")
    with Secure(stele) as server:
        for good in (server.address(), server.address("127.0.0.1"),
                     server.address(tlsCAFile=None, tlsVerifyCert="false"),
                     server.address(tlsCAFile="other.pem", tlsVerifyCert="false")):
            stele.run("--store", good, "append", "a", "--type", "A", "--data", "{}")
        for bad, words in [(server.address(tlsCAFile="other.pem"), "self-signed certificate"),
                           (server.address(tlsCAFile=None), "self-signed certificate"),
                           (server.address(tlsCAFile="none.pem"), "none.pem"),
                           (server.address(tls="false", tlsCAFile=None, timeout=500), "the server")]:
            ended = stele.run("--store", bad, "read", "a", code=None)
            assert ended.code != 0, bad
            has(ended.err, words)
        same(len(stele.run("--store", server.address(), "read", "a", "--json").json), 4)


def test_wrong_host(stele):
    """a certificate for somebody else is refused, by name and by address"""
    certificate(stele, "server", "DNS:elsewhere.example")
    with Secure(stele) as server:
        for host, words in (("localhost", "hostname mismatch"), ("127.0.0.1", "IP address mismatch")):
            ended = stele.run("--store", server.address(host), "read", "a", code=None)
            assert ended.code != 0
            has(ended.err.lower(), words.lower())
        stele.run("--store", server.address(tlsVerifyCert="false"), "append", "a", "--type", "A")


def test_large_amounts(stele):
    """megabytes go both ways whole and in order, over TLS and plain, with several addresses of a host"""
    certificate(stele, "server")
    events = [{"stream": "big", "type": "B", "data": {"n": i, "fill": "x" * (i % 4000)}}
              for i in range(2000)]
    stele.lines("events", events)
    for server in (Secure(stele, "--store", "one"), Server(stele, "--store", "two")):
        with server:
            address = (server.address() if isinstance(server, Secure)
                       else f"stele://localhost:{server.port}")
            stele.run("--store", address, "import", "events")
            got = stele.run("--store", address, "read", "big", "--json").json
            same([event["data"] for event in got], [event["data"] for event in events])


def test_a_server_without_http2(stele):
    """a TLS server that does not agree on HTTP/2 is told from one that refuses"""
    certificate(stele, "server")
    process = subprocess.Popen(
        ["openssl", "s_server", "-accept", "0", "-cert", stele.path("server.pem"), "-key",
         stele.path("server.key")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline()
        while not line.startswith("ACCEPT"):
            line = process.stdout.readline()
        port = line.rsplit(":", 1)[1].strip()
        ended = stele.run("--store", f"stele://localhost:{port}?tls=true&tlsCAFile=server.pem"
                          "&timeout=300000", "read", "a", code=None)
        assert ended.code != 0
        has(ended.err, "does not offer HTTP/2")
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


if __name__ == "__main__":
    main(sys.modules[__name__])

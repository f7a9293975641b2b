"""What testssl.sh says of the server's TLS.

Method: Debian's testssl.sh looks at protocols, ciphers, forward secrecy, known attacks and at what the
server offers by default. Whatever it finds wrong fails the test, but for the certificate: the test's
signs itself and ends in two days."""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import HANGS, Stele, main  # noqa: E402

from server import Server, certificate  # noqa: E402

# Of the certificate, which an operator chooses.
OPERATORS = ("cert_", "DNS_CAArecord")
# Of the tester: what its own openssl lacks.
TESTERS = ("engine_problem",)


def findings(s, port):
    subprocess.run(
        ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--openssl", "/usr/bin/openssl",
         "--ip", "127.0.0.1", "--nodns", "none",
         "--protocols", "--std", "--pfs", "--vulnerable", "--server-defaults",
         "--jsonfile", "found.json", f"localhost:{port}"],
        cwd=s.dir, check=False, timeout=HANGS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(s.dir, "found.json"), encoding="utf-8") as file:
        return json.load(file)


def test_nothing(s: Stele):
    """testssl.sh finds nothing wrong with the server, and everything that it looks for"""
    certificate(s, "server", "localhost")
    with Server(s, "--insecure", "--tls-certificate", "server.pem", "--tls-key",
                "server.key") as server:
        found = findings(s, server.port)
        server.stop()
    seen = {one["id"]: one for one in found}
    for name in ("TLS1_2", "TLS1_3", "heartbleed", "PFS", "cipherlist_NULL", "LUCKY13"):
        assert name in seen, f"testssl.sh says nothing of {name}: {sorted(seen)}"
    wrong = [one for one in found if one["severity"] not in ("OK", "INFO")
             and not one["id"].startswith(OPERATORS + TESTERS)]
    assert not wrong, wrong
    assert seen["TLS1"]["finding"] == "not offered", seen["TLS1"]
    assert seen["TLS1_1"]["finding"] == "not offered", seen["TLS1_1"]


if __name__ == "__main__":
    main(sys.modules[__name__])

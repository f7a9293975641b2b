"""The bank's tutorial shows what happens.

Method: the commands of docs/tutorial-bank.md are run one after the other in a shell, and what they
print is compared with what is shown; "…" stands for anything within a line. Arguments are those of
the tests of the command line, and the directory of the program `bank`.
"""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../cli"))
BANK = sys.argv.pop(4)

from documents import DOCS, commands_of, compare, console_blocks, read, run_session  # noqa: E402
from harness import SOURCE, Stele, main  # noqa: E402


def test_tutorial(s: Stele):
    """every command of docs/tutorial-bank.md prints what is shown"""
    if shutil.which("sqlite3") is None:
        return
    s.env["PATH"] = BANK + ":" + s.env["PATH"]
    os.symlink(os.path.join(SOURCE, "examples"), s.path("examples"))
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "tutorial-bank.md"))))
    assert len(pairs) > 40
    compare("tutorial-bank.md", pairs, run_session(s, pairs), "…")


main(sys.modules[__name__])

"""docs/sagas.md shows what happens.

    sagas.py STELE SOURCE ORDER_SAGA
"""

import os
import sys

source, program = sys.argv[2], os.path.abspath(sys.argv[3])
sys.path.insert(0, os.path.join(source, "tests/cli"))

from documents import DOCS, commands_of, compare, console_blocks, read, run_session  # noqa: E402
from harness import Stele, main  # noqa: E402


def test_sagas_md(s: Stele):
    """docs/sagas.md shows what happens"""
    s.env["PATH"] = os.path.dirname(program) + os.pathsep + s.env["PATH"]
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "sagas.md"))))
    assert len(pairs) >= 7
    compare("sagas.md", pairs, run_session(s, pairs), "…")


main(sys.modules[__name__])

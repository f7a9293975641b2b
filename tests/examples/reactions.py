"""docs/reactions.md shows what happens.

    reactions.py STELE SOURCE

The service that the document speaks of is one of this process: its port takes the place of the document's.
"""

import os
import sys

source = sys.argv[2]
sys.path.insert(0, os.path.join(source, "tests/cli"))

from documents import DOCS, commands_of, compare, console_blocks, read, run_session  # noqa: E402
from harness import Stele, main  # noqa: E402
from receiver import Receiver  # noqa: E402


def test_reactions_md(s: Stele):
    """docs/reactions.md shows what happens"""
    with Receiver({"/nobody": [(404, "no such place")]}, log=s.path("received")) as receiver:
        text = read(os.path.join(DOCS, "reactions.md")).replace("8099", str(receiver.port))
        pairs = commands_of(console_blocks(text))
        assert len(pairs) >= 18
        compare("reactions.md", pairs, run_session(s, pairs), "…")


main(sys.modules[__name__])

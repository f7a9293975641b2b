"""On a terminal the output is for people and harms nobody; in a pipe it is for programs.

Method: pseudo-terminals, pipes that close early, full disks, names and data made to move the
cursor.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

from harness import HANGS, ID, Stele, has, hasnt, interrupt, main, same, wait_until

ESCAPE = "\x1b"
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202e\r\n\t"


def shown(ended):
    """What a terminal got, without our own colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", ended.out)


def test_colour_only_on_a_terminal(s: Stele):
    """colour is used on a terminal, and not with NO_COLOR, TERM=dumb or in a pipe"""
    s.append("a", "T", data="1")
    hasnt(s.run("read", "$all").out, ESCAPE)
    has(s.terminal("read", "$all").out, ESCAPE + "[36m")
    hasnt(s.terminal("read", "$all", env={"NO_COLOR": "1"}).out, ESCAPE)
    has(s.terminal("read", "$all", env={"NO_COLOR": ""}).out, ESCAPE)
    hasnt(s.terminal("read", "$all", env={"TERM": "dumb"}).out, ESCAPE)
    same(shown(s.terminal("read", "$all")).replace("\r\n", "\n"), s.run("read", "$all").out)
    hasnt(s.terminal("read", "a", "--json").out, ESCAPE)


def evil_store(s):
    s.lines("in", [
        {"stream": "a", "type": "Text", "content_type": "text/plain", "data": EVIL},
        {"stream": "a", "type": "Json", "data": {EVIL: EVIL, "x": "\x7f\u2066"},
         "metadata": {"m": EVIL}},
        {"stream": "a", "type": "Direction\u202eLR\u200b", "tags": ["\u2067t"],
         "content_type": "x/y\u202e", "data_base64": "G1s="},
    ])
    # Written with raw characters, as JSON allows it for everything from U+007F on.
    raw = '{"stream":"a","type":"Raw","data":{"k":"\x7f\x9b31m\u202e"},"metadata":["\x9b"]}\n'
    with open(s.path("in"), "a") as file:
        file.write(raw)
    s.run("import", "in")


def harmless(text, what):
    """Nothing that a terminal obeys, or that disguises what is written."""
    found = re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069]",
                       text.replace("\r\n", "\n"))
    assert not found, (what, found, text)


def test_nothing_reaches_the_terminal(s: Stele):
    """control characters in names and data are escaped on a terminal, in every form"""
    evil_store(s)
    for args in (["read", "a"], ["read", "$all"], ["read", "a", "--long"], ["read", "a", "--json"],
                 ["read", "a", "--cloudevents"], ["export"], ["streams", "--types"],
                 ["streams", "--tags"], ["streams", "--types", "--json"],
                 ["tail", "a", "--from", "start", "--limit", "4"]):
        harmless(shown(s.terminal(*args)), args)
    # The same is true for people who look at it through a pipe.
    for args in (["read", "a"], ["read", "a", "--long"], ["streams", "--types"]):
        harmless(s.run(*args).out, args)


def test_escaped_json_means_the_same(s: Stele):
    """JSON on a terminal parses to what is stored"""
    evil_store(s)
    for args in (["read", "a", "--json"], ["read", "a", "--cloudevents"]):
        same([json.loads(line) for line in s.terminal(*args).out.replace("\r\n", "\n").split("\n")[:-1]],
             s.run(*args).json)


def test_failures_are_escaped(s: Stele):
    """names from the command line cannot move the cursor through a failure"""
    s.append("a", "T")
    for args in (["read", EVIL], [EVIL], ["read", "a", "--" + EVIL], ["read", "a", "--from", EVIL],
                 ["append", EVIL, "--type", "T"], ["import", EVIL], ["info", "--store", EVIL]):
        harmless(s.run(*args, code=None).err, args)
        harmless(s.terminal(*args).out, args)
    evil = EVIL.replace("\n", "")
    for line in (f'{{"stream":"a","type":"T","{evil}":1}}', f'{{"stream":"a","type":"T",{evil}'):
        harmless(s.run("import", stdin=line, code=9).err, line)


def test_one_event_is_one_line(s: Stele):
    """an event for people is one line, whatever it holds"""
    evil_store(s)
    same(len(s.run("read", "a").lines), 4)
    same(len(s.run("read", "a", "--json").lines), 4)


def test_aligned(s: Stele):
    """columns are aligned over revisions of different width and wide characters"""
    for i in range(12):
        s.run("append", "a", "--type", "ä" * (i % 3 + 1), "--data", "1")
    columns = {line.index("  1") if line.endswith("  1") else -1
               for line in s.run("read", "a").lines}
    same(len(columns), 1)


def test_reader_goes_away(s: Stele):
    """a reader that has seen enough ends it quietly with 141"""
    events = [{"stream": "a", "type": "T", "data": "x" * 100} for _ in range(20000)]
    s.lines("in", events)
    s.run("import", "in")
    for command in ("read a", "read a --json", "export", "read '$all'", "read a --raw"):
        ended = s.shell(f"stele {command} | head -c 20 >/dev/null; echo ${{PIPESTATUS[0]}}")
        same((command, ended.out, ended.err), (command, "141\n", ""))
    # Also where the signal is ignored, as Python's subprocess does, and where it is not.
    ended = s.shell("trap '' PIPE; stele export | true; echo ${PIPESTATUS[0]}")
    same((ended.out, ended.err), ("141\n", ""))


def test_tail_notices_that_the_reader_went_away(s: Stele):
    """tail ends when its reader does, even if nothing comes any more"""
    s.append("a", "T")
    ended = s.shell("timeout 300 stele tail a --from start --json | head -n 1; "
                    "echo ${PIPESTATUS[0]}")
    same(ended.lines[-1], "141")
    same(ended.err, "")


def test_full_output(s: Stele):
    """a full disk behind standard output is told, by commands with little and much output"""
    s.append("a", "T")
    for command in ("read a", "export", "info", "streams", "version", "help", "digest",
                    "append a --type T", "read a --json"):
        ended = s.shell(f"stele {command} >/dev/full", code=7)
        has(ended.err, "standard output")
    s.shell("timeout 300 stele tail a --from start >/dev/full", code=7)


def test_closed_output(s: Stele):
    """closed standard output is told; closed standard error is not needed"""
    s.append("a", "T")
    has(s.shell("stele read a >&-", code=12).err, "standard output")
    s.shell("stele append a --type T >&-", code=12)
    s.shell("stele read nothing 2>&-", code=5)
    # Otherwise files of the store would get these numbers, and be printed into.
    for closed, code in ((">&- 2>&- <&-", 12), ("<&- >&-", 12), (">&- 2>&-", 12), ("<&- 2>&-", 0)):
        s.shell(f"stele append a --type T {closed}", code=code)
        s.shell(f"stele append a --type T --expect 99 {closed}", code=3)
    s.run("verify")
    same(len(s.run("read", "a").lines), 6)


def test_lost_results_are_told_as_such(s: Stele):
    """what was done but could not be shown is told as done; a reader that left changes nothing"""
    s.append("a", "T")
    s.append("b", "T")
    s.lines("in", [{"stream": "c", "type": "T"}])
    done = "has been done, only its result is not shown"
    for command in ("append a --type T", "append a --type T --json", "meta a --max-count 100",
                    "import in", "delete b"):
        has(s.shell(f"stele {command} >/dev/full", code=7).err, done)
    has(s.shell("stele append a --type T >&-", code=12).err, done)
    hasnt(s.shell("stele read a >/dev/full", code=7).err, done)
    same(len(s.run("read", "a").lines), 4)
    same(len(s.run("read", "c").lines), 1)
    s.run("read", "b", code=5)
    same(s.shell("(stele append a --type T; echo $? >&2) | true").err, "0\n")


def test_tail_ctrl_c(s: Stele):
    """Ctrl-C ends tail with 0, also on a terminal"""
    s.append("a", "T", data='"seen"')
    ended = s.terminal("tail", "a", "--from", "start", keys=b"\x03", after=b"seen")
    same(ended.code, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        process = s.start("tail", "a", "--from", "start")
        process.stdout.readline()
        process.send_signal(number)
        process.communicate(timeout=HANGS)
        same(process.returncode, 0)


def test_read_ctrl_c(s: Stele):
    """Ctrl-C ends append from a terminal; what was typed before is stored"""
    s.append("a", "T")
    ended = s.terminal("append", "a", keys=b'{"type":"Typed"}\n\x04', after=b"Ctrl-D")
    same(ended.code, 0)
    has(shown(ended), "a: revision 1")
    ended = s.terminal("import", keys=b"\x03", after=b"Ctrl-D")
    same(ended.code, 130)


def test_progress(s: Stele):
    """progress is shown on a terminal only, and taken away at the end"""
    line = json.dumps({"stream": "a", "type": "T", "data": "x" * 300}) + "\n"
    s.write("in", line * 60000)
    ended = s.terminal("import", "in", "--batch", "1", env=s.faulty(slow_ms=5))
    same(ended.code, 0)
    has(ended.out, "import: ")
    assert ended.out.rindex("\x1b[K") > ended.out.rindex("lines, ")
    same(s.run("import", "in", "--store", "b").err.count("\n"), 2)


def test_json_has_no_notes(s: Stele):
    """with --json standard error is silent unless something fails"""
    same(s.run("append", "a", "--type", "T", "--json").err, "")
    same(s.run("import", "--json", stdin='{"stream":"b","type":"T"}').err, "")


def test_raw_is_raw(s: Stele):
    """--raw is exact, also on a terminal"""
    s.append("a", "T", data='"\x7f"')
    same(s.terminal("read", "a", "--raw").raw_out, b'"\x7f"')


main(sys.modules[__name__])

"""Every command against every store that is none, and every name that is none: it ends with the
exit code of the table, says why in one line, and changes nothing.

Method: all commands times all bad stores, and all commands that take a name times all bad names;
so a command that is added is met by everything, and what is refused here is refused there.
"""

import json
import os
import shutil
import struct
import subprocess
import sys

import harness
from harness import Stele, become_nobody, crc32c, has, main, one_line, same

READING = [
    ["read", "a"], ["read", "$all"], ["read", "a", "--backwards", "--as-of", "9"],
    ["tail", "a", "--from", "start", "--limit", "1"], ["streams"], ["streams", "--types"],
    ["info"], ["info", "a"], ["state", "a"], ["meta", "a"], ["export"], ["verify"], ["digest"],
]
WRITING = [
    ["append", "a", "--type", "T"], ["append", "a"], ["import", "lines"], ["import"],
    ["meta", "a", "set", "{}"], ["meta", "a", "--max-count", "5"],
    ["delete", "a"], ["delete", "a", "--tombstone"], ["scavenge"],
]
LINE = '{"stream":"a","type":"T"}\n'

# A name that is written, and one that is only looked for.
WRITTEN = [
    ["append", None, "--type", "T"], ["append", "a", "--type", None],
    ["append", "a", "--type", "T", "--tag", None], ["meta", None, "set", "{}"],
    ["delete", None, "--tombstone"],
]
LOOKED_FOR = [
    ["read", None], ["tail", None, "--timeout", "1"], ["info", None], ["meta", None], ["state", None],
    ["delete", None], ["streams", None],
    ["append", "b", "--type", "T", "--expect", "9", "--fail-if-type", None],
    ["append", "b", "--type", "T", "--expect", "9", "--fail-if-tag", None],
    ["read", "$all", "--type", None], ["read", "$all", "--prefix", None],
    ["read", "$all", "--regex", None], ["read", "$all", "--stream", None],
    ["read", "$all", "--stream-prefix", None], ["read", "$all", "--stream-regex", None],
    ["read", "$all", "--category", None], ["read", "$all", "--tag", None],
]
NO_UTF_8 = [b"a\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"]
CONTROLS = [b"a\nb", b"\x7f", b"a\tb", b"\x1b[31m", "\u0085".encode()]


def contents(path):
    """Everything that lies there, to see that nothing was changed."""
    found = {}
    for folder, _, files in os.walk(path):
        # Who has the lock, or had it, is no content.
        for name in set(files) - {"lock", "live"} if "stele.store" in files else files:
            whole = os.path.join(folder, name)
            with open(whole, "rb") as file:
                found[whole] = file.read()
    if os.path.isfile(path):
        with open(path, "rb") as file:
            found[path] = file.read()
    return found


def refuses(s, store, args, code, **kwargs):
    args = args + ["--store", s.path(store)]
    stdin = LINE if args[0] in ("append", "import") else None
    one_line(s.run(*args, stdin=stdin, code=code, **kwargs).err)
    failure = s.run(*args, "--json", stdin=stdin, code=code, **kwargs).failure
    same(failure["exit_code"], code)


def patch(s, store, change):
    """Changes both copies of the superblock."""
    with open(s.path(store + "/stele.store"), "r+b") as file:
        content = bytearray(file.read())
        for at in (0, 4096):
            content[at : at + 68] = change(content[at : at + 68])
        file.seek(0)
        file.write(content)


def all_refuse(s, store, commands, code, **kwargs):
    before = contents(s.path(store))
    for args in commands:
        refuses(s, store, args, code, **kwargs)
        same((args, contents(s.path(store)) == before), (args, True))


def make_store(s):
    s.write("lines", LINE)
    s.run("append", "a", "--type", "T", "--store", s.path("store"))


def test_missing(s: Stele):
    """no command but those that append makes a store where there is none"""
    make_store(s)
    os.symlink("nowhere", s.path("dangling"))
    for store in ("missing", "deep/er/missing", "dangling"):
        for args in READING + [["delete", "a"], ["scavenge"]]:
            refuses(s, store, args, 5)
            same((args, os.path.exists(s.path(store))), (args, False))


def test_not_a_store(s: Stele):
    """a directory that is something else, and a file, are left alone by every command"""
    make_store(s)
    os.mkdir(s.path("thesis"))
    s.write("thesis/chapter.txt", "It was a dark and stormy night")
    all_refuse(s, "thesis", READING + WRITING, 5)
    s.write("file", "x")
    all_refuse(s, "file", READING + WRITING, 5)


def test_newer(s: Stele):
    """a store of a newer format is left alone by every command"""
    make_store(s)

    def newer(block):
        block[8:12] = struct.pack("<I", 1000)
        return block[:64] + struct.pack("<I", crc32c(block[:64]))

    patch(s, "store", newer)
    all_refuse(s, "store", READING + WRITING, 13)


def test_damaged(s: Stele):
    """a store whose first file is damaged, empty or short is left alone by every command"""
    make_store(s)
    shutil.copytree(s.path("store"), s.path("zeros"))
    shutil.copytree(s.path("store"), s.path("short"))
    shutil.copytree(s.path("store"), s.path("empty"))
    patch(s, "store", lambda block: block[:20] + b"XXXX" + block[24:])
    patch(s, "zeros", lambda block: bytes(68))
    os.truncate(s.path("short/stele.store"), 60)
    os.truncate(s.path("empty/stele.store"), 0)
    for store in ("store", "zeros", "short", "empty"):
        all_refuse(s, store, READING + WRITING, 4)


def test_damaged_end(s: Stele):
    """what is damaged at the very end of a store is told, also by export, never left out"""
    def lines(stream):
        return "".join(json.dumps({"stream": stream, "type": "T", "data": {"n": n}}) + "\n" for n in range(20))

    for stream in ("a", "b"):
        s.run("import", "--store", s.path("store"), stdin=lines(stream))
    whole = s.run("export", "--store", s.path("store")).out
    same(whole.count("\n"), 40)
    log = s.path("store/0000000000000000.seg")
    with open(log, "r+b") as file:
        at = file.read().rindex(b'{"n": 19}')
        file.seek(at)
        file.write(b"X")
    for more in ([], ["--skip-damage"]):
        ended = s.run("export", *more, "--store", s.path("store"), code=4)
        has(ended.err, "0000000000000000.seg, offset")
        same(ended.out, whole[:whole.index('"n": 19', whole.index('"b"'))].rpartition("\n")[0] + "\n")
    has(s.run("verify", "--store", s.path("store"), code=4).out, "0000000000000000.seg")


def test_read_only_directory(s: Stele):
    """a store that may only be read is read, and every command that writes is refused"""
    make_store(s)
    s.run("meta", "a", "set", "{}", "--store", s.path("store"))
    for folder, _, files in os.walk(s.path("store")):
        for name in files:
            os.chmod(os.path.join(folder, name), 0o444)
        os.chmod(folder, 0o555)
    os.chmod(s.path("lines"), 0o444)
    os.chmod(s.dir, 0o755)
    # The binary may lie where nobody else can look.
    shutil.copy(harness.BINARY, s.path("stele"))
    old, harness.BINARY = harness.BINARY, s.path("stele")
    try:
        all_refuse(s, "store", WRITING, 11, preexec_fn=become_nobody)
        before = contents(s.path("store"))
        for args in READING:
            s.run(*args, "--store", s.path("store"), preexec_fn=become_nobody)
        same(contents(s.path("store")) == before, True)
    finally:
        harness.BINARY = old


def test_names(s: Stele):
    """names that are no UTF-8 are refused, control characters neither written nor printed"""
    s.append("a", "T")
    for args in WRITTEN + LOOKED_FOR:
        for name in NO_UTF_8 + CONTROLS:
            ended = s.run(*[name if word is None else word for word in args], code=None)
            if name in NO_UTF_8 or args in WRITTEN:
                same((args, name, ended.code), (args, name, 2))
            else:
                has((0, 2, 3, 5), ended.code)
                same((args, name, ended.out), (args, name, ""))
            if ended.code != 0:
                one_line(ended.err)
            raw = [c for c in ended.err[:-1] if ord(c) < 32 or 127 <= ord(c) < 160]
            same((args, name, raw), (args, name, []))
    same(s.run("streams").out, "a  1\n")


EDGES = [0, 1, 2, 3, 4, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 17, 2**64 - 16, 2**64 - 3,
         2**64 - 2, 2**64 - 1, 2**64, 2**65]


def test_edges(s: Stele):
    """revisions, positions and counts at their edges are answered or refused, never mistaken"""
    s.append("a", "A", "B", "C")
    position = s.run("read", "a", "--limit", "1", "--json").json[0]["position"]

    def edge_case(edge, is_number, lines, *args):
        ended = s.run(*args, str(edge), code=None)
        same((args, edge, ended.code), (args, edge, 0 if is_number else 2))
        same((args, edge, len(ended.lines)), (args, edge, lines if is_number else 0))

    for edge in EDGES:
        is_revision = edge <= 2**64 - 17
        edge_case(edge, is_revision, max(0, 3 - edge), "read", "a", "--from")
        edge_case(edge, is_revision, min(3, edge + 1), "read", "a", "--backwards", "--from")
        edge_case(edge, edge < 2**63, 3 if edge < int(position) else 0, "read", "$all", "--from")
        edge_case(edge, edge < 2**63, 0 if edge < int(position) else 3, "read", "$all", "--as-of")
        edge_case(edge, 0 < edge < 2**64, min(3, edge), "read", "a", "--limit")
        edge_case(edge, 0 < edge < 2**64, 1, "streams", "--limit")
        if edge == 2:
            continue
        for args in (["append", "a", "--type", "T"], ["delete", "a"], ["delete", "a", "--tombstone"]):
            ended = s.run(*args, "--expect", str(edge), code=None)
            same((args, edge, ended.code), (args, edge, 3 if is_revision else 2))
    same([line["revision"] for line in s.run("read", "a", "--json").json], [0, 1, 2])


def test_limits_at_their_edges(s: Stele):
    """metadata takes any number there is or refuses it, and what it hides follows from it"""
    for number, edge in enumerate(EDGES):
        for option, hides in (("--truncate-before", edge), ("--max-count", max(0, 3 - edge))):
            stream = f"s{option}{number}"
            s.append(stream, "A", "B", "C")
            ended = s.run("meta", stream, option, str(edge), code=None)
            assert ended.code in (0, 2), (option, edge, ended.err)
            hides = min(3, hides) if ended.code == 0 else 0
            left = s.run("read", stream, code=None)
            same((option, edge, len(left.lines)), (option, edge, 3 - hides))
    s.run("verify")


main(sys.modules[__name__])

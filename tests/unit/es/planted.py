"""An error in any replicated data type is caught by the tests of its laws.

    planted.py SOURCE BASE_LIBRARY CC       run by the build

Method: each error is put into a copy of the one file that it is in, which is compiled with the others
and with a test; the test has to fail. A text that is not there exactly once is a failure as well: the
error is stale. The control: with nothing planted the tests pass.
"""

import glob
import os
import shlex
import subprocess
import sys
import tempfile

SOURCE, BASE, CC = sys.argv[1], sys.argv[2], shlex.split(sys.argv[3])

# What goes wrong, the test that has to see it, the file, the text, and what it becomes.
PLANTS = [
    ("a clock is before itself", "clock", "clock.c",
     "return below ? STELE_CLOCK_BEFORE : STELE_CLOCK_SAME;", "return STELE_CLOCK_BEFORE;"),
    ("receiving merges and does not tick", "clock", "clock.c",
     "outcome = stele_clock_tick(&received, node);", "outcome = STELE_OK;"),
    ("a version is followed by what came later, not by what had seen it", "versions", "versions.c",
     "!stele_dots_is_covered(&record, &newest->past)", "newest->cursor == newest->dots->size"),
    ("pruning forgets leaves", "versions", "versions.c",
     "stele_dots_remove(&dots, is_past, &past);", "stele_dots_remove(&dots, is_past, stable);"),
    ("what the other has removed comes back", "crdt", "dots.c",
     "return is_gone(other, out) ? NULL : out;", "return out;"),
    ("a joined state has seen what one of both had", "crdt", "dots.c",
     "if (stele_clock_merge(&seen, &others) != STELE_OK) {", "if (others.count > 64) {"),
    ("counter: an event that comes twice counts twice", "crdt", "crdt.c",
     "if (stele_dots_has_seen(&dots, stamp->node, write.time)) {",
     "if (write.time == UINT64_MAX) {"),
    ("counter: the sum of the last change replaces that of all", "crdt", "crdt.c",
     "(is_alone || record.time == time)", "record.time == time"),
    ("lww: the first writer wins", "crdt", "crdt_value.c",
     "return one > two;", "return one < two;"),
    ("lww: equal positions are decided by who is walked first", "crdt", "crdt_value.c",
     "return a->node != b->node ? a->node > b->node : a->time > b->time;", "return false;"),
    ("registers: a write replaces what it had not seen", "crdt", "crdt.c",
     "return is_there && stele_dots_is_covered(record, removal->seen);", "return is_there;"),
    ("set: an erased element stays", "crdt", "crdt.c",
     ".below = op->action == STELE_CRDT_CLEAR,", ".below = op->action != STELE_CRDT_ASSIGN,"),
    ("set: a walk shows an element once for each that inserted it", "crdt", "crdt_value.c",
     "stele_bytes_equal(other.path, record.path)) {", "false) {"),
    ("map: removing a name removes those that begin like it", "crdt", "crdt_place.c",
     "to[1] = (uint8_t)key.size;", "to[1] = (uint8_t)(key.size & ~1u);"),
    ("map: a removal takes one type of several", "crdt", "crdt_place.c",
     "if (type == 0) {\n        return 2 + key.size;\n    }", "type = type == 0 ? 1 : type;"),
]


def run(name, source_of, test, work):
    program = os.path.join(work, "program")
    sources = [source_of.get(os.path.basename(path), path)
               for pattern in ("clock.c", "crdt*.c", "dots.c", "versions.c")
               for path in sorted(glob.glob(os.path.join(SOURCE, "src/es", pattern)))]
    golden = os.path.join(SOURCE, "tests/golden/es")
    subprocess.run(CC + ["-std=gnu17", "-D_GNU_SOURCE", "-w", "-O0", f'-DGOLDEN_DIR="{golden}"',
                         "-I", f"{SOURCE}/src", "-I", f"{SOURCE}/include", "-I", f"{SOURCE}/tests",
                         f"{SOURCE}/tests/unit/es/test_{test}.c", *sources, BASE,
                         "-lisal", "-lxxhash", "-o", program], check=True)
    return subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
                          text=True)


def attempt(plant, work):
    name, test, file, old, new = plant
    path = os.path.join(SOURCE, "src/es", file)
    with open(path, encoding="utf-8") as opened:
        text = opened.read()
    if text.count(old) != 1:
        return f"the text is {text.count(old)} times in {file}: renew it"
    changed = os.path.join(work, file)
    with open(changed, "w", encoding="utf-8") as opened:
        opened.write(text.replace(old, new))
    ended = run(name, {file: changed}, test, work)
    if ended.returncode == 0:
        return f"test_{test} passes"
    return None


def main():
    number = 0
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for test in ("clock", "versions", "crdt"):
            number += 1
            ended = run("control", {}, test, work)
            print(f"{'ok' if ended.returncode == 0 else 'not ok'} {number} - {test} passes with "
                  "nothing planted", flush=True)
            failed += ended.returncode != 0
        for plant in PLANTS:
            number += 1
            why = attempt(plant, work)
            print(f"{'not ok' if why else 'ok'} {number} - caught: {plant[0]}", flush=True)
            if why:
                print(f"# {why}", flush=True)
                failed += 1
    print(f"1..{number}")
    return 1 if failed else 0


sys.exit(main())

"""What the documents show is what happens, and they know every command and option.

Method: the blocks ```console of docs/*.md, the examples of the manual pages and those of --help are
taken out, run one after the other in a shell, and compared with what is shown. "…" (in manual
pages "...") stands for anything within a line. Options are taken from --help and looked for in
the manual pages and the completions, and the other way round.
"""

import glob
import os
import re
import subprocess
import sys

from documents import DOCS, commands_of, compare, console_blocks, read, run_session
from harness import SOURCE, Stele, has, main, same

COMPLETIONS = os.path.join(SOURCE, "packaging/completions")


def manual_examples(text):
    """The examples (.EX … .EE) of a manual page, without roff's escapes."""
    lines = []
    for block in re.findall(r"^\.EX\n(.*?)^\.EE", text, re.M | re.S):
        for line in block.splitlines():
            line = line.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\(dq", '"')
            line = line.replace(r"\(ga", "`").replace(r"\(ha", "^").replace(r"\(ti", "~")
            lines.append(line.replace(r"\&", "").replace(r"\e", "\\"))
    return lines


def commands(s):
    return re.findall(r"^  ([a-z]+) +[A-Z]", s.run("--help").out, re.M)


def options_of(s, command):
    text = s.run(command, "--help").out
    return set(re.findall(r"^  (?:-\w, )?--([a-z-]+)", text, re.M))


def test_cli_md(s: Stele):
    """docs/cli.md shows what happens"""
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "cli.md"))))
    assert len(pairs) > 40
    compare("cli.md", pairs, run_session(s, pairs), "…")


def test_json_lines_md(s: Stele):
    """docs/json-lines.md shows what happens"""
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "json-lines.md"))))
    assert len(pairs) > 8
    compare("json-lines.md", pairs, run_session(s, pairs), "…")


def test_projections_md(s: Stele):
    """docs/projections.md shows what happens"""
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "projections.md"))))
    assert len(pairs) > 30
    compare("projections.md", pairs, run_session(s, pairs), "…")


def test_projections_redis_md(s: Stele):
    """docs/projections-redis.md shows what happens"""
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "projections-redis.md"))))
    assert len(pairs) > 15
    try:
        compare("projections-redis.md", pairs, run_session(s, pairs), "…")
    finally:
        # The last command ends the server, unless one before it did.
        s.shell("redis-cli -s redis.sock shutdown nosave; rm -f redis.sock", code=None)


def test_projections_elasticsearch_md(s: Stele):
    """docs/projections-elasticsearch.md shows what happens"""
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "projections-elasticsearch.md"))))
    assert len(pairs) > 8
    # The session runs below the server, which says where it is.
    with open(os.path.join(s.dir, "session"), "w", encoding="utf-8") as file:
        file.write('export ELASTIC=$STELE_TEST_ELASTIC\nexec bash "$@"\n')
    server = os.path.join(SOURCE, "tests/lib/with-elastic")
    compare("projections-elasticsearch.md", pairs,
            run_session(s, pairs, [server, "bash", "session"]), "…")


def test_shredding_md(s: Stele):
    """docs/shredding.md shows what happens"""
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "shredding.md"))))
    assert len(pairs) > 20
    compare("shredding.md", pairs, run_session(s, pairs), "…")


def test_manual_examples(s: Stele):
    """the examples of every manual page of section 1 show what happens"""
    pages = sorted(glob.glob(os.path.join(DOCS, "man/*.1")))
    assert len(pages) >= 15
    for page in pages:
        pairs = commands_of(manual_examples(read(page)))
        assert pairs, page
        own = Stele()
        try:
            compare(os.path.basename(page), pairs, run_session(own, pairs), "...")
        finally:
            own.remove()


def test_help_examples(s: Stele):
    """the examples of every --help end well"""
    for command in commands(s):
        if command in ("bench", "serve"):
            continue  # They measure and serve for long; manual pages and tests/server have them.
        text = s.run(command, "--help").out.split("\nExamples:\n")[1]
        text = text.replace("\\\n", " ")
        for example in re.findall(r"^  (\S.*)$", text, re.M):
            own = Stele()
            try:
                prepare(own, 1 if command == "append" else 8)
                if command == "user" and " add " not in example:
                    own.shell("printf 'a first password' | stele user add ada", code=None)
                if command in ("keys", "shred") and " init " not in example:
                    prepare_keyring(own)
                if command in ("project", "run"):
                    prepare_projection(own)
                limit = "timeout -s INT 1 " if command == "tail" else ""
                if "| while" in example:
                    example = example.split(" | ")[0]
                ended = own.shell(limit + example, code=None)
                allowed = (0, 124, 15) if command == "tail" else (0,)
                assert ended.code in allowed, f"{example}\n{ended.code}: {ended.err}"
            finally:
                own.remove()


def prepare_keyring(s):
    s.run("keys", "init", "--keyring", "ring", "--key-file", "master.key")
    s.env.update(STELE_KEYRING=s.path("ring"), STELE_KEY_FILE=s.path("master.key"))
    s.write("policy.json", '{"seal":[]}')
    s.run("keys", "add", "customer-4711")


def prepare(s, orders):
    """A world in which the examples make sense."""
    s.write("logo.png", b"\x89PNG\r\n")
    s.append("order-1", *["OrderPlaced"] * orders)
    s.append("logo-1", "LogoDrawn")
    s.append("account-1", "Deposited", data='{"cents": 1}')
    s.write("account.jq", ".cents += $event.data.cents")
    s.run("meta", "order-1", "set", "{}")
    s.write("events.jsonl", '{"stream":"order-1","type":"A"}\n' * 10)
    for number in (1, 2):
        s.write(f"cloudevents-{number}.jsonl",
                '{"specversion":"1.0","id":"%d","source":"x","type":"T"}\n' % number)
    started = '{"kind":"order","id":"17","steps":[{"name":"payment"}]}'
    s.shell(f"stele append saga.order-17 --type SagaStarted --data '{started}'")
    s.shell("stele export | gzip > old.jsonl.gz; cp -r stele-data a; stele digest > digest-of-monday")


def prepare_projection(s):
    s.write("totals.sql", "-- @projection totals\n-- @version 1\n-- @tables\n"
            "CREATE TABLE t (stream TEXT);\n-- @on OrderPlaced\nINSERT INTO t VALUES (:stream);\n")
    s.write("history.sql", "-- @projection history\n-- @version 1\n-- @order effective\n-- @tables\n"
            "CREATE TABLE h (stream TEXT);\n-- @undo\nDELETE FROM h WHERE stream = :stream;\n"
            "-- @on OrderPlaced\nINSERT INTO h VALUES (:stream);\n")
    s.write("stele.yaml", "projections:\n  - file: totals.sql\n    into: totals.db\n")
    s.run("project", "run", "totals.sql", "--into", "totals.db", "--once")


def test_manual_knows_every_option(s: Stele):
    """every command has a manual page with its options, and no others"""
    for command in commands(s):
        page = read(os.path.join(DOCS, f"man/stele-{command}.1"))
        options = page.split(".SH OPTIONS")[1].split(".SH ")[0]
        documented = set(re.findall(r"^\.BI? .*?\\-\\-([a-z\\-]+)", options, re.M))
        same((command, {name.replace("\\-", "-") for name in documented}),
             (command, options_of(s, command)))
    overview = read(os.path.join(DOCS, "man/stele.1"))
    for command in commands(s):
        has(overview, f"stele\\-{command}")


def test_manual_exit_codes(s: Stele):
    """stele(1) has the table of exit codes"""
    shown = set(re.findall(r"^ +(\d+)  ", s.run("help", "exit-codes").out, re.M))
    section = read(os.path.join(DOCS, "man/stele.1")).split(".SH EXIT STATUS")[1].split(".SH ")[0]
    same(set(re.findall(r"^\.B (\d+)$", section, re.M)), shown)


def test_completions_know_every_option(s: Stele):
    """the completions know every command and option, and no others"""
    for shell in ("bash/stele", "zsh/_stele", "fish/stele.fish"):
        text = read(os.path.join(COMPLETIONS, shell))
        for command in commands(s):
            options = options_of(s, command)
            same((shell, command, completed(shell, text, command)), (shell, command, options))


def completed(shell, text, command):
    """The options that a completion offers for a command, those of all commands included."""
    if shell.startswith("bash"):
        common = re.search(r"^    local common='([^']*)'", text, re.M).group(1)
        own = re.search(rf"^    {command}\) options='([^']*)'", text, re.M).group(1)
        words = set(re.findall(r"--([a-z-]+)", common + " " + own))
    elif shell.startswith("zsh"):
        common = re.search(r"^    common=\((.*?)^    \)", text, re.M | re.S).group(1)
        own = re.search(rf"^    {command}\)\n(.*?);;", text, re.M | re.S).group(1)
        words = set(re.findall(r"'\*?(?:\([^)]*\))?--([a-z-]+)[\[=]", common + own))
    else:
        common = re.findall(r"^complete -c stele (?:-s \w )?-l ([a-z-]+)", text, re.M)
        own = re.findall(rf"^complete -c stele -n '__stele_is {command}' -l ([a-z-]+)", text, re.M)
        words = set(common + own)
    return words - {"store"} if command in ("version", "help", "bench") else words


def test_bash_completion_works(s: Stele):
    """bash completes commands, options and names of streams"""
    s.append("order-1", "OrderPlaced")
    s.append("order-2", "OrderPlaced")
    script = os.path.join(COMPLETIONS, "bash/stele")

    def complete(*words):
        quoted = " ".join(f"'{word}'" for word in words)
        out = s.shell(f"source {script}; COMP_WORDS=(stele {quoted}); COMP_CWORD={len(words)}; "
                      'COMPREPLY=(); _stele; printf "%s\\n" "${COMPREPLY[@]}"').out
        return sorted(out.split())

    same(complete("re"), ["read"])
    same(complete("s"), ["saga", "scavenge", "serve", "shred", "state", "streams"])
    same(complete("read", "--stream-"), ["--stream-prefix", "--stream-regex"])
    same(complete("read", "ord"), ["order-1", "order-2"])
    same(complete("read", "--type", "Or"), ["OrderPlaced"])
    same(complete("append", "order-1", "--expect", ""), ["any", "exists", "none"])
    same(complete("help", "exit"), ["exit-codes"])
    same(complete("--store", s.dir + "/ste"), [s.dir + "/stele-data"])


def test_manual_pages_are_well_formed(s: Stele):
    """groff renders every manual page without a warning, where groff is"""
    pages = sorted(glob.glob(os.path.join(DOCS, "man/*.[13]")))
    assert len(pages) >= 16
    for page in pages:
        text = read(page)
        first = text.splitlines()
        assert any(line.startswith(".TH ") for line in first[:3]), page
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
            has(text, f".SH {section}\n")
        same((page, max(map(len, first)) <= 300), (page, True))
        found = subprocess.run(["sh", "-c", 'command -v groff >/dev/null || exit 0; '
                                'groff -man -Tutf8 -ww -K utf8 -z "$1"', "sh", page],
                               capture_output=True, text=True)
        same((page, found.returncode, found.stderr), (page, 0, ""))


def test_library_manual_shows_an_example_that_is_compiled(s: Stele):
    """the example of stele(3) is examples/hello.c, which is compiled and run elsewhere"""
    (page,) = glob.glob(os.path.join(DOCS, "man/stele.3"))
    shown = "\n".join(manual_examples(read(page))) + "\n"
    same(shown, read(os.path.join(SOURCE, "examples/hello.c")))


def test_library_manual_knows_the_interface(s: Stele):
    """the pages of section 3 name every function and describe every outcome of the public headers"""
    headers = {os.path.basename(path): read(path)
               for path in glob.glob(os.path.join(SOURCE, "include/stele/*.h"))}
    assert len(headers) > 10
    pages = "".join(read(page) for page in glob.glob(os.path.join(DOCS, "man/*.3")))
    names = re.findall(r"^#define (STELE_\w+)\s+(?:\\\n\s*)?\(?-?\d", headers["outcome.h"], re.M)
    assert len(names) > 25
    for name in names:
        assert re.search(rf"\b{name}\b", pages), name
    # Under NAME, so that man finds the page.
    found = set(re.findall(r"\bstele_\w+", " ".join(
        re.findall(r"^\.SH NAME\n(.*?)^\.SH", pages, re.M | re.S))))
    found |= {"stele_outcome_name"} if "stele_outcome_name()" in pages else set()
    for header, text in headers.items():
        functions = set(re.findall(r"^STELE_(?:RUN_)?API [^;(]*?\b(stele_\w+)\(", text, re.M))
        assert functions, header
        same((header, functions - found), (header, set()))


def test_library_manual_of_the_toolkit_is_that_of_its_headers(s: Stele):
    """tools/man3 would write the pages of the toolkit as they are"""
    s.shell(f"{sys.executable} -B {SOURCE}/tools/man3 --check")


main(sys.modules[__name__])

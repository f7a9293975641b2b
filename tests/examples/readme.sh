#!/usr/bin/env bash
# Every command of the examples' READMEs works as it stands there.
#
# Method: the blocks marked "sh" of each README are run in order, one shell for the whole file, in a
# directory that looks like the top of the project after `./dev build`.
. "$(dirname "$0")/tap.sh"

# A checkout of its own, so that commands may write what they like.
if git clone -q "$source" top 2>/dev/null; then
    is_checkout=yes
else
    mkdir top
    is_checkout=
fi
mkdir top/build
ln -s "$build/examples" top/build/examples
for place in "$build/stele" "$build/src/cli/stele"; do
    [ ! -x "$place" ] || ln -sf "$place" top/build/stele
done

# run_blocks README BEGIN: each block is a script of its own that gets the environment of the one
# before. Says which command failed.
run_blocks() {
    local script
    script=$(awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$1")
    [ -n "$script" ] || return 1
    (cd top && rm -rf stele-data && bash -euo pipefail -x -c "$script")
}

check "README.md" run_blocks "$source/README.md"
check "examples/bank/README.md" run_blocks "$source/examples/bank/README.md"
check "examples/README.md" run_blocks "$source/examples/README.md"
if command -v dpkg-query >/dev/null; then
    check "examples/package-history/README.md" \
        run_blocks "$source/examples/package-history/README.md"
else
    skip "examples/package-history/README.md" "this is no Debian"
fi
if [ -n "$is_checkout" ]; then
    check "examples/git-history/README.md" run_blocks "$source/examples/git-history/README.md"
else
    skip "examples/git-history/README.md" "this is no git checkout"
fi

# The demonstration: what it has to show, and that it is quick.
demo() {
    local begin=$SECONDS
    "$source/examples/package-history/demo.sh" "$build" "$@" >demo.out 2>&1 || {
        cat demo.out
        return 1
    }
    [ $((SECONDS - begin)) -lt 60 ] || {
        echo "took $((SECONDS - begin)) seconds"
        return 1
    }
}
check "the demonstration runs, in less than a minute" demo "$work/demo-store"
check "it says what it stored" says "stored    " cat demo.out
check "it compares with dpkg" says "; 0 differ" cat demo.out
check "it says what to try next" says "$build" grep -A9 'What to try next' demo.out
no_colours() {
    ! grep -q $'\033' demo.out
}
check "in a pipe it has no colours" no_colours
check "a second time it stores nothing" demo "$work/demo-store"
check "and says so" says "stored    0 events" cat demo.out
# The commands it proposes are real ones.
proposed() {
    local command
    grep "^  $build" demo.out >proposed || return 1
    while read -r command; do
        STELE_STORE=$work/demo-store bash -c "$command" >out 2>&1 || {
            echo "\$ $command"
            cat out
            return 1
        }
    done <proposed
}
if [ -x top/build/stele ]; then
    check "every command that it proposes works" proposed
else
    skip "every command that it proposes works" "there is no command line"
fi

# Then the store is served. On a terminal it goes on until Ctrl-C; what it proposes is done meanwhile.
serve() {
    STELE_PORT=0 "$source/examples/package-history/serve.sh" "$build" "$work/demo-store" >serve.out 2>&1 || {
        cat serve.out
        return 1
    }
}
until_interrupted() {
    python3 - "$source/examples/package-history/serve.sh" "$build" "$work/demo-store" <<'END'
import os, pty, re, select, subprocess, sys, time

child, terminal = pty.fork()
if child == 0:
    os.environ["STELE_PORT"] = "0"
    os.execv(sys.argv[1], sys.argv[1:])
seen, deadline, step = "", time.monotonic() + 300, "wait"
while time.monotonic() < deadline:
    if select.select([terminal], [], [], 1)[0]:
        try:
            data = os.read(terminal, 65536).decode("utf-8", "replace")
        except OSError:  # The other side is closed.
            break
        if not data:
            break
        seen += data
    if step == "wait" and "Ctrl-C:" in seen and seen.count("package-") > 2:
        for command in re.findall(r"^  (\S+ (?:append|read) .*?)\r?$", seen, re.M):
            subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
        step = "tried"
    if step == "tried" and "OrderPlaced" in seen.split("Ctrl-C:")[1]:
        os.write(terminal, b"\3")
        step = "interrupted"
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(seen)
sys.exit(0 if status == 0 and "has ended as you asked" in seen else 1)
END
}
if [ -x top/build/stele ] && [ -s demo.out ]; then
    check "what was imported is served, and in a pipe that ends by itself" serve
    check "it says how KurrentDB's clients connect" says "kurrentdb://localhost:" cat serve.out
    check "it shows what is there over the network" says "Live:" cat serve.out
    check "in a pipe it has no colours either" bash -c '! grep -q $'"'\033'"' serve.out'
    check "on a terminal it shows what comes, and Ctrl-C ends it cleanly" until_interrupted
    check "and leaves a store that is whole" "$build/src/cli/stele" verify --store "$work/demo-store"
fi
finish

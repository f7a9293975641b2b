#!/usr/bin/env bash
# docs/aggregates.md shows what happens, and the pieces of code in it are those of the example.
. "$(dirname "$0")/tap.sh"
export PATH=$build/examples:$build/src/cli:$PATH
page=$source/docs/aggregates.md

# Every block of one language, one after the other, with a line "--" before each.
blocks() {
    awk -v "start=\`\`\`$1" '$0 == start { inside = 1; print "--"; next }
        $0 == "```" { inside = 0 } inside' "$page"
}

pieces() {
    blocks c | python3 -c '
import sys
source = open(sys.argv[1], encoding="utf-8").read()
pieces = [p for p in sys.stdin.read().split("--\n") if p]
missing = [p for p in pieces if p not in source]
print("not in the example:", *missing, sep="\n")
sys.exit(len(missing) > 0 or len(pieces) < 6)' "$source/examples/aggregate.c"
}
check "every piece of code in the page is in the example" pieces

session() {
    local line
    blocks console | grep -v '^--$' >shown
    while IFS= read -r line; do
        case $line in
        '$ '*)
            printf '%s\n' "$line"
            eval "${line#??}" 2>&1
            ;;
        esac
    done <shown >printed
    diff shown printed
}
check "every command in the page prints what is shown" session

# Each a process of its own, as a web server of the old days would have it.
deposits() {
    local i
    for i in $(seq 101); do
        aggregate bank deposit bob 1 >/dev/null || return 1
    done
    same "account-bob: 2101 cents, owner Bob \"the second\"" "$(aggregate bank show bob)"
}
check "a hundred commands of as many processes add up" deposits
# bob was opened and got a transfer before.
check "and leave a snapshot, made when a hundred events were there" \
    says '{"open":1,"cents":2098,"owner":"Bob \"the second\""}' \
    stele read '$snapshot-account-account-bob' --store bank
check "what is refused ends with 3" fails 3 aggregate bank withdraw carl 1
check "the schema is checked before anything is stored" says "below the minimum" \
    aggregate bank deposit bob -5
finish

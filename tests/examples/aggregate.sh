#!/usr/bin/env bash
# docs/aggregates.md shows what happens, and the pieces of code in it are those of the example.
. "$(dirname "$0")/page.sh"
. "$(dirname "$0")/tap.sh"
export PATH=$build/examples:$build/src/cli:$PATH
page=$source/docs/aggregates.md

check "every piece of code in the page is in the example" pieces "$source/examples/aggregate.c" 6
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

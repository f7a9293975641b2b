#!/usr/bin/env bash
# The small examples do what they say, also the second time and all at once.
. "$(dirname "$0")/tap.sh"

check "hello appends, reads and follows" same 'read {"owner":"Ada"}
followed AccountOpened' "$("$build/examples/hello" hello-data)"
check "the second time its expected revision is refused" same 'account-1 is open already
read {"owner":"Ada"}
followed AccountOpened' "$("$build/examples/hello" hello-data)"

check "two phones that were apart have the same list" same 'phone 1: 5 milk
phone 2: 6 eggs
phone 1: 6 eggs 2 milk
phone 2: 6 eggs 2 milk' "$("$build/examples/shared-list")"

dcb=$build/examples/dcb
check "an address can be registered" "$dcb" users ada ada@example.org
check "but once" fails 3 "$dcb" users bob ada@example.org
check "by nobody else" fails 3 "$dcb" users ada ada@example.org
check "and a user once" fails 3 "$dcb" users ada other@example.org
check "another address is free" "$dcb" users bob bob@example.org

# One process at a time may write; those that come meanwhile try again.
register() {
    local try
    for try in $(seq 3000); do
        "$dcb" race "user$1" same@example.org >"race.$1" 2>&1
        case $? in
        0) echo won >"race.$1" && return ;;
        3) echo taken >"race.$1" && return ;;
        esac
        sleep 0.02
    done
}
race() {
    local i
    for i in 1 2 3 4 5 6; do
        register "$i" &
    done
    wait
    same "won 1
taken 5" "$(cat race.[1-6] | sort -r | uniq -c | awk '{ print $2, $1 }')"
}
check "of six that want the same address one gets it" race

if [ -x "$build/examples/cplusplus" ]; then
    check "C++ reads what it has appended" \
        same 'Greeted {"who":"world"}' "$("$build/examples/cplusplus" cplusplus-data)"
else
    skip "C++ reads what it has appended" "there is no C++ compiler"
fi

# A newcomer compiles it with nothing but an include path.
check "hello.c is strict C99" ${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror \
    -I "$source/include" -c "$source/examples/hello.c" -o hello.o
check "hello.c is a screen, not a program" test "$(wc -l <"$source/examples/hello.c")" -le 64
finish

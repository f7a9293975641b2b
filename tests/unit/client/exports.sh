#!/usr/bin/env bash
# What libstele offers to a linker and a compiler is what <stele.h> says, and nothing else.
#
#     exports.sh LIBSTELE_SO LIBSTELE_A INCLUDE_DIRECTORY
set -uo pipefail
shared=$1 static=$2 include=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0

check() {
    local claim=$1
    shift
    count=$((count + 1))
    if "$@" >"$work/out" 2>&1; then
        echo "ok $count - $claim"
    else
        echo "not ok $count - $claim"
        sed 's/^/# /' "$work/out"
    fi
}


declared() {
    grep -ohE 'stele_[a-z_]+\(' "$include"/stele/*.h | tr -d '(' | sort -u >"$work/called"
    sed 's@/\*.*\*/@@' "$include"/stele/*.h | tr '\n' ' ' |
        grep -oE 'STELE_API [^;(]*\(' | grep -oE 'stele_[a-z_]+\($' | tr -d '(' | sort -u
}

exported() {
    nm -D --defined-only "$shared" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort -u
}

same() {
    declared >"$work/declared"
    exported >"$work/exported"
    [ -s "$work/declared" ] && diff "$work/declared" "$work/exported"
}

check "the shared library exports what the headers declare, no more and no less" same
check "every exported symbol has a version" \
    bash -c "nm -D --defined-only '$shared' | awk '\$2 == \"T\"' | grep -v '@@STELE_0' | { ! grep .; }"
# A sanitizer adds a name of its own beside each variable.
check "the static library defines only names that begin with stele_" \
    bash -c "nm -g --defined-only '$static' | awk 'NF == 3 && \$3 !~ /^(__odr_asan[._])?stele_/' | { ! grep .; }"

printf '#include <stele.h>\nint main(void) { return STELE_OK; }\n' >"$work/a.c"
check "the header is C99" \
    cc -std=c99 -pedantic -Wall -Wextra -Werror -I"$include" -c "$work/a.c" -o "$work/a.o"
if command -v c++ >/dev/null; then
    cp "$work/a.c" "$work/a.cc"
    check "the header is C++11" \
        c++ -std=c++11 -pedantic -Wall -Wextra -Werror -I"$include" -c "$work/a.cc" -o "$work/b.o"
fi
echo "1..$count"

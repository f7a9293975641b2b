#!/usr/bin/env bash
# What is installed is all that a user needs: the program of README.md compiles and links with
# pkg-config alone, and the command line, its manual and its completions are there.
#
# Method: an installation into a directory of its own, and nothing of the sources on any path.
. "$(dirname "$0")/tap.sh"

if grep -qa -e __asan_init -e __tsan_init "$build/src/cli/stele"; then
    echo "1..0 # SKIP a library with a sanitizer needs programs with one"
    exit 0
fi

root=$work/root
prefix=$(meson introspect --buildoptions "$build" |
    python3 -c 'import json, sys; print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))')
check "it can be installed" meson install -C "$build" --no-rebuild --quiet --destdir "$root"
PKG_CONFIG_PATH=$(dirname "$(find "$root" -name stele.pc)")
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=$root
libraries=$(dirname "$(find "$root" -name libstele.so)")

check "pkg-config knows it" pkg-config --exists --print-errors stele
check "and its version" same "$("$root$prefix/bin/stele" version)" "stele $(pkg-config --modversion stele)"

# The snippet of README.md, in a program.
{
    echo '#include <stele.h>'
    echo '#include <stdio.h>'
    echo 'int main(void) { struct stele_error err = {0};'
    awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$source/README.md"
    echo '    printf("%s\n", stele_outcome_name(err.outcome));'
    echo '    return stele_close(store) == STELE_OK ? 0 : 1; }'
} >accounts.c
has_snippet() {
    grep -q 'stele_append(' accounts.c
}
check "README.md has a program" has_snippet
# shellcheck disable=SC2046
compile() {
    ${CC:-cc} "$@" accounts.c $(pkg-config --cflags --libs stele) -o program
}
check "it compiles with pkg-config alone" compile -Wall -Wextra -Werror
check "and runs" env LD_LIBRARY_PATH="$libraries" ./program
check "it has appended" says AccountOpened "$root$prefix/bin/stele" read account-1 --store accounts
check "a second time it is refused" fails 3 "$root$prefix/bin/stele" append account-1 --type T \
    --expect none --store accounts
# shellcheck disable=SC2046
compile_static() {
    ${CC:-cc} accounts.c $(pkg-config --cflags stele) "$libraries/libstele.a" \
        $(pkg-config --static --libs-only-l stele | sed 's/-lstele\b//') -o program-static
}
check "the static library has all that it needs" compile_static
check "and runs, the second time" says wrong-revision ./program-static

has_files() {
    local file missing=0
    for file in "$@"; do
        [ -n "$(find "$root" -path "*$file")" ] || { echo "$file is missing" && missing=1; }
    done
    return "$missing"
}
check "the manual is installed" has_files /man1/stele.1 /man1/stele-append.1 /man3/stele.3 /man3/stele_saga.3
check "the completions are installed" has_files stele.fish /_stele completions/stele
check "the headers are installed, and no others" \
    same "$(cd "$source/include" && find . -name '*.h' | sort)" \
    "$(cd "$root$prefix/include" && find . -name '*.h' | sort)"
finish

# TAP for tests written in bash. A test file sources this, calls `check` for every claim, and ends
# with `finish`. Its arguments are the build directory and the source directory.
set -u
build=$1
source=$2
export LC_ALL=C.UTF-8
unset STELE_STORE GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE NO_COLOR
work=$(mktemp -d "${TMPDIR:-/tmp}/stele-examples.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
points=0
failures=0

# check CLAIM COMMAND…: the claim holds if the command ends with 0. What it printed is shown if not.
check() {
    local claim=$1
    shift
    points=$((points + 1))
    if "$@" >"$work/.output" 2>&1; then
        echo "ok $points - $claim"
    else
        failures=$((failures + 1))
        echo "not ok $points - $claim"
        printf '%s\n' "$*" | sed 's/^/# /' | cut -c1-300 | head -n 5
        sed 's/^/#   /' "$work/.output" | head -n 40
    fi
}

# skip CLAIM REASON
skip() {
    points=$((points + 1))
    echo "ok $points - $1 # SKIP $2"
}

# same EXPECTED ACTUAL: two texts are equal.
same() {
    [ "$1" = "$2" ] || {
        diff <(printf '%s\n' "$1") <(printf '%s\n' "$2")
        return 1
    }
}

# says TEXT COMMAND…: the command's output has this text in it, whatever its exit code is.
says() {
    local text=$1 output
    shift
    output=$("$@" 2>&1)
    case $output in
    *"$text"*) return 0 ;;
    esac
    printf 'expected: %s\ngot:\n%s\n' "$text" "$output"
    return 1
}

# fails CODE COMMAND…: the command ends with this exit code.
fails() {
    local want=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" -eq "$want" ] || {
        echo "exit code $got instead of $want"
        return 1
    }
}

# seen STORE: what is installed after the replay, one "name:arch version state" a line.
finish() {
    echo "1..$points"
    [ "$failures" -eq 0 ]
}

# For tests of a page whose commands are run and whose pieces of code are those of an example. Sets
# nothing but functions; the test sets $page.

# Every block of one language, one after the other, with a line "--" before each.
blocks() {
    awk -v "start=\`\`\`$1" '$0 == start { inside = 1; print "--"; next }
        $0 == "```" { inside = 0 } inside' "$page"
}

# pieces FILE LEAST: every block of C is in the file, and there are at least so many.
pieces() {
    blocks c | python3 -c '
import sys
source = open(sys.argv[1], encoding="utf-8").read()
pieces = [p for p in sys.stdin.read().split("--\n") if p]
missing = [p for p in pieces if p not in source]
print("not in the example:", *missing, sep="\n")
sys.exit(len(missing) > 0 or len(pieces) < int(sys.argv[2]))' "$1" "$2"
}

# Every command prints what the page shows.
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

#!/usr/bin/env bash
# The trees that git-history replays are those of git, whatever a repository holds.
#
# Method: a repository made here has everything that makes trees differ from commit to commit; then
# every one of its commits is compared. The project's own repository is compared too: nobody made
# it for the test.
. "$(dirname "$0")/tap.sh"
gh=$build/examples/git-history/git-history

if ! command -v git >/dev/null; then
    echo "1..0 # SKIP git is not installed"
    exit 0
fi

export GIT_CONFIG_GLOBAL=$work/gitconfig GIT_CONFIG_NOSYSTEM=1
git config --global user.name 'Ada "the first" Lovelace'
git config --global user.email ada@example.org
git config --global init.defaultBranch trunk
git config --global protocol.file.allow always
git config --global advice.detachedHead false

at=1700000000
commit() {
    at=$((at + 60))
    GIT_AUTHOR_DATE="$at +0100" GIT_COMMITTER_DATE="$at +0100" git -C "$work/repo" commit -q "$@"
}
merge() {
    at=$((at + 60))
    GIT_AUTHOR_DATE="$at +0100" GIT_COMMITTER_DATE="$at +0100" git -C "$work/repo" merge -q "$@"
}

make_repository() {
    git init -q repo
    cd repo || exit 1
    mkdir -p src/deep docs
    echo one >src/one.c
    echo two >src/deep/two.c
    printf '#!/bin/sh\n' >run
    echo words >docs/words
    git add . && commit -m $'Begin\n\nwith a body, "quotes", a tab\t, and \xc3\xa9'

    chmod +x run && git add run && commit -m 'Mode alone'
    chmod -x run && echo more >>run && git add run && commit -m 'Mode and content'
    git mv src/one.c src/uno.c && commit -m 'Rename'
    git mv src/uno.c src/one && echo changed >>src/one && git add . && commit -m 'Rename and change'
    git rm -q docs/words && commit -m 'Delete the last file of a directory'
    echo file >docs && git add docs && commit -m 'A file where a directory was'
    git rm -q docs && mkdir docs && echo again >docs/x && git add docs &&
        commit -m 'A directory where a file was'
    ln -s src/one link && git add link && commit -m 'A symbolic link'
    rm link && echo file >link && git add link && commit -m 'A file where a link was'
    commit --allow-empty -m 'Nothing at all'
    commit --allow-empty --allow-empty-message -m ''

    # Paths that make trouble: spaces, quotes, line feeds, tabs, no UTF-8, control characters.
    printf 1 >'with space'
    printf 2 >'quote"d'
    printf 3 >"back\\slash"
    printf 4 >$'line\nfeed'
    printf 5 >$'tab\there'
    printf 6 >$'latin-\xe9'
    printf 7 >$'\xc3\xa9t\xc3\xa9'
    printf 8 >'{brace}'
    printf 9 >'-dash'
    printf 10 >"$(printf 'n%.0s' {1..250})"
    long=$(printf 'd%.0s' {1..200})
    mkdir -p "$long/$long/$long/$long/$long" && printf 11 >"$long/$long/$long/$long/$long/$long"
    git add -A && commit -m 'Odd paths'
    git rm -q $'line\nfeed' $'latin-\xe9' && echo changed >$'tab\there' && git add -A &&
        commit -m 'Odd paths change'

    # Merges: clean, with a conflict, of an unrelated history, of three branches at once.
    git checkout -q -b side HEAD~5
    echo side >side && git add side && commit -m 'On a side branch'
    echo side >>side && git add side && commit -m 'Again on it'
    git checkout -q trunk
    echo trunk >trunk && git add trunk && commit -m 'Meanwhile'
    merge side -m 'Merge'
    git checkout -q -b conflict HEAD~1
    echo theirs >both && git add both && commit -m 'Theirs'
    git checkout -q trunk
    echo ours >both && git add both && commit -m 'Ours'
    git -C . merge -q conflict >/dev/null 2>&1
    echo 'neither' >both && git add both && commit -m 'Merge with a conflict, and an extra file' 
    git checkout -q --orphan other && git rm -rqf . && echo root >another-root && git add . &&
        commit -m 'Another root'
    git checkout -q trunk
    merge --allow-unrelated-histories other -m 'Merge an unrelated history'
    for name in a b c; do
        git checkout -q -b "octopus-$name" trunk
        echo "$name" >"arm-$name" && git add . && commit -m "Arm $name"
    done
    git checkout -q trunk
    merge octopus-a octopus-b octopus-c -m 'Octopus' >/dev/null 2>&1
    git checkout -q -b theirs-wins HEAD~3 2>/dev/null
    echo x >gone-by-merge && git add . && commit -m 'A file that the merge drops'
    git checkout -q trunk
    merge -s ours theirs-wins -m 'A merge that changes nothing'
    # A merge into the side: its first parent is not the main line.
    git checkout -q side
    echo s >third && git add third && commit -m 'Side goes on'
    merge trunk -m 'Merge trunk into side'
    git checkout -q trunk
    merge --no-ff side -m 'And back'

    # A submodule comes, moves, goes.
    git init -q ../module
    git -C ../module commit -q --allow-empty -m one
    git submodule --quiet add ../module module >/dev/null 2>&1 && commit -m 'A submodule'
    git -C module commit -q --allow-empty -m two
    git add module && commit -m 'The submodule moves'
    git rm -qf module && commit -m 'The submodule goes'
    cd ..
}

make_repository
commits=$(git -C repo rev-list --count HEAD)

check "every commit is imported" says "read      $commits commits of repo" "$gh" import repo
check "every tree is what git ls-tree says, merges included" "$gh" check repo 0
check "and no commit was left out of the comparison" \
    says "$commits of $commits trees" "$gh" check repo 0
check "the merges are among them" says "(7 merges)" "$gh" check repo 0
check "tree prints what git prints" \
    same "$(git -C repo ls-tree -r HEAD)" "$("$gh" tree)"

every_tree_is_printed_as_by_git() {
    local id
    for id in $(git -C repo rev-list HEAD); do
        diff <(git -C repo ls-tree -r -z "$id" | od -c) <("$gh" tree "$id" -z | od -c) || return 1
    done
}
check "byte by byte, for every commit" every_tree_is_printed_as_by_git

check "importing again stores nothing" says "stored    0 events" "$gh" import repo
check "sending everything again is recognised by its ids" \
    says "stored    0 events, " "$gh" import repo --resend
check "and has changed nothing" "$gh" check repo 0

check "the history of a file has its additions and deletions" \
    says "FileDeleted" "$gh" file src/one.c
check "a mode alone is called so" says "FileModeChanged" "$gh" file run
check "a link that becomes a file is called so" says "FileTypeChanged" "$gh" file link
check "a path with a line feed has a history" says "FileAdded" "$gh" file $'line\nfeed'
check "a path that is no UTF-8 has a history" says "FileDeleted" "$gh" file $'latin-\xe9'
check "an unknown path is an error" fails 1 "$gh" file nowhere
check "an unknown commit is an error" fails 1 "$gh" tree 0123456789
check "another repository is refused" \
    says "give this repository a store of its own" "$gh" import module
check "a check against another repository fails" fails 1 "$gh" check module 0

# The repository grows, also by a branch that began long ago, so its commits come before others.
git -C repo checkout -q -b late HEAD~6 2>/dev/null
echo late >repo/late && git -C repo add late && commit -m 'Late'
git -C repo checkout -q trunk
merge late -m 'Merge late'
check "what is new is imported, and only that" \
    says "37 commits of repo, 35 were there already" "$gh" import repo
check "and all trees are right" "$gh" check repo 0

# A commit with more files than one append may have streams.
git init -q big
mkdir big/files
(cd big/files && for i in $(seq 2500); do echo "$i" >"$i"; done)
git -C big add . && git -C big commit -q -m 'Many files'
git -C big rm -rq files/1 files/2 && git -C big commit -q -m 'Fewer'
(cd big/files && for i in $(seq 3 2400); do echo changed >"$i"; done)
git -C big commit -q -a -m 'Many change'
check "a commit with 2,500 files is imported in parts" \
    says "in parts" "$gh" import big --store big-store
check "and replayed whole" "$gh" check big 0 --store big-store
check "its parts are recognised" says "stored    0 events" \
    "$gh" import big --store big-store --resend

# A shallow clone ends with commits whose parents git does not know.
git clone -q --depth 3 "file://$work/repo" shallow
check "a shallow clone is imported as far as it goes" "$gh" import shallow --store shallow-store
check "and replayed" "$gh" check shallow 0 --store shallow-store

# Whoever reads while an import runs sees whole commits: the reader dies of half a one.
watched() {
    local reads=0
    "$gh" import "$1" --store watched --name w >imported 2>&1 &
    local pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if [ -e watched ] && ! "$gh" commits 1 --store watched >seen 2>&1 &&
            ! grep -q -e 'no store' -e 'no commits' seen; then
            cat seen
            wait "$pid"
            return 1
        fi
        reads=$((reads + 1))
    done
    wait "$pid" && "$gh" check "$1" 10 --store watched && echo "$reads reads"
}
check "a reader beside an import sees whole commits only" watched big

# Nothing in the user's configuration may change what is read.
git config --global diff.renames copies
git config --global diff.noprefix true
git config --global log.showSignature true
git config --global color.ui always
git config --global diff.orderFile /nonexistent
git config --global log.date relative
check "the user's configuration makes no difference" bash -c "
    '$gh' import repo --store configured && '$gh' check repo 0 --store configured"
check "from a subdirectory it is the same" bash -c "
    '$gh' import repo/src --store sub --name repo && '$gh' check repo/src 0 --store sub"

# An import that is killed leaves whole commits; the next one goes on.
killed() {
    local tries=0 count=0
    while [ "$tries" -lt 5 ]; do
        tries=$((tries + 1))
        "$gh" import big --store killed >/dev/null 2>&1 &
        local pid=$!
        sleep 0.0$((tries * 2))
        kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    "$gh" import big --store killed && "$gh" check big 0 --store killed
}
check "an import that is killed again and again ends whole" killed

# The store as it is when an import dies between two parts of a commit: made of the first events of
# a whole one, which have the order of the parts. The first commit has three, the last one too.
stele=$build/stele
[ -x "$stele" ] || stele=$build/src/cli/stele
half_done() {
    local count
    "$stele" export --store big-store >events.jsonl || return 1
    for count in 1023 2046 $((2501 + 3 + 1023)) $((2501 + 3 + 2046)); do
        head -n "$count" events.jsonl | "$stele" import --store "half-$count" &&
            same "$((count > 2501 ? 2 : 0))" "$("$gh" commits --store "half-$count" | wc -l)" &&
            "$gh" import big --store "half-$count" --name big &&
            "$gh" check big 0 --store "half-$count" &&
            same "$("$gh" busiest 0 --store big-store)" "$("$gh" busiest 0 --store "half-$count")" ||
            return 1
    done
}
if [ -x "$stele" ]; then
    check "an import that died between two parts goes on with the next" half_done
else
    skip "an import that died between two parts goes on with the next" "no command line"
fi

check "an empty repository is told apart" bash -c "
    git init -q nothing; '$gh' import nothing --store n 2>&1 | grep -q 'has no commit'"

top=$(git -C "$source" rev-parse --show-toplevel 2>/dev/null)
if [ -n "$top" ]; then
    check "the project's own repository is imported" \
        "$gh" import "$top" --store own --name stele
    check "and its trees are right" "$gh" check "$top" 40 --store own
else
    skip "the project's own repository is imported" "this is no git checkout"
    skip "and its trees are right" "this is no git checkout"
fi
finish

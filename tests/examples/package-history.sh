#!/usr/bin/env bash
# What package-history replays from the log of dpkg is what dpkg itself knows.
#
# Method: three logs with a known truth (tests/examples/dpkg: written by dpkg 1.21.22 when it did
# everything it can do, with the times set and its beginning cut off); a dpkg that does it all again
# here, in a directory of its own; and the log of this machine. Then the logs are damaged.
. "$(dirname "$0")/tap.sh"
ph=$build/examples/package-history/package-history
logs=$source/tests/examples/dpkg
export TZ=UTC0

# ---- Logs with a known truth ----------------------------------------------------------------

gzip -c "$logs/dpkg.log.2" >dpkg.log.2.gz
import_logs() {
    "$ph" import dpkg.log.2.gz "$logs/dpkg.log.1" "$logs/dpkg.log" "$@"
}
check "three logs are imported, one of them packed" says "230 lines of 3 log files" import_logs
check "the replay is what dpkg-query said" "$ph" check --against "$logs/installed"
check "every package was compared, also those that are gone" \
    says "16 of 16 packages in the log are as dpkg says, 7 of them removed; 0 differ" \
    "$ph" check --against "$logs/installed"
check "importing again stores nothing" says "stored    0 events, 236 were there" import_logs
check "and changes nothing" "$ph" check --against "$logs/installed"

# installed TIME: name:arch and version of what was installed then.
installed() {
    "$ph" installed --at "$1" | sed -n 's/^  \([^ ]*:[^ ]*\)  *\([^ ]*\).*/\1 \2/p'
}
check "before the log began there was what it found" \
    same "ancient:all 0.9
man-db:all 2.11-1
oldlib:amd64 1.0-1" "$(installed '2024-01-01 10:00:00')"
check "an upgrade is seen from its time on" same "conf:amd64 1:1.0
man-db:all 2.11-1
oldlib:amd64 1.1-1
plain:all 1.0" "$(installed '2024-01-07')"
check "and the version before until then" same "conf:amd64 1:2.0" \
    "$(installed '2024-01-08 12:00' | grep conf)"
check "what was removed is not there, its configuration does not count" same "" \
    "$(installed '2024-01-09 12:00' | grep conf)"
check "a package with another architecture is the same package" same "cross:all 2" \
    "$(installed '2024-01-13 12:00' | grep cross)"
check "and is there once when it changes back" same "cross:amd64 3" \
    "$(installed '2024-01-14 12:00' | grep cross)"
check "two architectures of one package are two" same "same:amd64 1
same:i386 1" "$(installed '2024-01-15 12:00' | grep same)"
check "a package that disappeared is gone" same "taker:all 1" \
    "$(installed '2024-01-18 12:00' | grep -e gone -e taker)"
check "what is half configured is called so" says "half-configured" \
    "$ph" installed --at 2024-01-20 fail

has() {
    check "$1" says "$3" "$ph" history "$2"
}
has "installed" plain "PackageInstalled            1.0"
has "upgraded" plain "PackageUpgraded             1.0 -> 2.0"
has "downgraded" plain "PackageDowngraded           2.0 -> 1.0"
has "reinstalled" plain "PackageReinstalled          1.0 -> 1.0"
has "removed" conf "PackageRemoved              1:2.0"
has "purged" conf "PackagePurged               1:1.0 -> nothing"
has "disappeared" gone "PackageDisappeared"
has "an installation that failed is none" preinstfail "PackageInstallAborted"
has "an upgrade that failed is none" broken "PackageUpgradeAborted"
has "another architecture" cross "PackageArchitectureChanged  1 now all"
has "found" ancient "PackageFound                0.9"
check "the steps in between are there, too" \
    says "PackageTriggersPending" "$ph" history trig --all
check "one architecture can be asked for" says "package-same:i386" "$ph" history same:i386
check "an unknown package is an error" fails 1 "$ph" history nothing-of-that-name

check "the last session is what changed since the pause before it" \
    says "0 installed, 0 upgraded, 0 downgraded, 1 removed" "$ph" changes
check "changes between two times" \
    says "0 installed, 1 upgraded, 0 downgraded, 0 removed" \
    "$ph" changes --from '2024-01-07 12:00' --at '2024-01-08 12:00'
check "the busiest package is the one that changed most" \
    says "plain:all" bash -c "'$ph' busiest 1"
check "there was one session a day" same 28 "$("$ph" sessions | grep -c 2024)"

# The position at the end of a session is the same moment as its time.
as_of() {
    local position
    position=$("$ph" sessions | awk '/2024-01-13/ { print $NF }')
    same "$("$ph" installed --at 2024-01-13 | head -n -1)" \
        "$("$ph" installed --as-of "$position" | head -n -1)"
}
check "as of a position is as at its time" as_of

# ---- A log that grows, is rotated, is damaged -----------------------------------------------

cat "$logs/dpkg.log.2" "$logs/dpkg.log.1" "$logs/dpkg.log" >whole
grows() {
    local lines
    for lines in 1 2 37 38 100 171 229 230; do
        head -n "$lines" whole >growing
        "$ph" import growing --store grown || return 1
    done
    same "$("$ph" installed)" "$("$ph" installed --store grown)" &&
        "$ph" check --against "$logs/installed" --store grown &&
        says "store     236 events" "$ph" import growing --store grown
}
check "imported piece by piece it is the same" grows

rotated() {
    "$ph" import "$logs/dpkg.log" | grep 'stored    0 events' &&
        "$ph" check --against "$logs/installed"
}
check "a log whose beginning was rotated away adds nothing that was known" rotated
check "a log from before what is stored is refused" \
    says "before what is stored" \
    bash -c "'$ph' import '$logs/dpkg.log' --store late && '$ph' import dpkg.log.2.gz --store late"

unfinished() {
    head -c -5 whole >cut
    "$ph" import cut --store cut-store | grep '229 lines' &&
        "$ph" import whole --store cut-store | grep 'stored    1 events' &&
        "$ph" check --against "$logs/installed" --store cut-store
}
check "a line that is being written is left for the next time" unfinished

damaged() {
    {
        head -n 50 whole
        printf '2024-01-06 10:00:09 status installed\n'
        printf '2024-01-06 10:00:09 status installed \001\377:all 1.0\n'
        printf '2024-01-06 10:00:09 something nobody knows\n'
        printf '2024-01-06 10:00:09 conffile /etc/odd \001\377 name keep\n'
        printf 'no time at all\n\n'
        head -c 100 /dev/zero
        printf '\n'
        tail -n +51 whole
    } >odd
    "$ph" import odd --store odd-store | grep 'left out  3 lines' &&
        "$ph" check --against "$logs/installed" --store odd-store
}
check "lines that dpkg did not write do no harm" damaged

# debootstrap unpacks dpkg by hand and notes it without an architecture.
bootstrapped() {
    {
        echo "2024-01-01 10:00:00 upgrade dpkg 1.21 1.21"
        echo "2024-01-01 10:00:00 status half-configured dpkg 1.21"
        echo "2024-01-01 10:00:00 status unpacked dpkg 1.21"
        echo "2024-01-01 10:00:00 status half-installed dpkg 1.21"
        echo "2024-01-01 10:00:01 status unpacked dpkg:amd64 1.21"
        echo "2024-01-01 10:00:01 status half-configured dpkg:amd64 1.21"
        echo "2024-01-01 10:00:01 status installed dpkg:amd64 1.21"
        echo "2024-01-01 10:00:01 status installed dpkg-dev:all 1.21"
        echo "2024-01-01 10:00:01 status installed ancient 1.0"
    } >bootstrapped
    printf '%s installed\n' 'dpkg:amd64 1.21' 'dpkg-dev:all 1.21' 'ancient:i386 1.0' >truth
    "$ph" import bootstrapped --store bootstrap-store &&
        "$ph" check --against truth --store bootstrap-store &&
        says "1.21 now amd64" "$ph" history dpkg --store bootstrap-store &&
        fails 1 "$ph" history dpk --store bootstrap-store &&
        ! "$ph" history dpkg --all --store bootstrap-store | grep dpkg-dev
}
check "a name without architecture is the one that goes on with it" bootstrapped

equal_lines() {
    {
        echo "2024-01-01 10:00:00 status installed a:all 1"
        echo "2024-01-01 10:00:00 status installed a:all 1"
        echo "2024-01-01 10:00:00 status half-configured a:all 1"
        echo "2024-01-01 10:00:00 status installed a:all 1"
    } >equal
    "$ph" import equal --store equal-store | grep 'stored    4 events' &&
        "$ph" import equal --store equal-store | grep 'stored    0 events'
}
check "equal lines are different events" equal_lines

cut_gz() {
    head -c 300 dpkg.log.2.gz >cut.gz
    fails 1 "$ph" import cut.gz --store cut-gz
}
check "a packed log that ends too early is an error" cut_gz
check "a log that is not there is an error" fails 1 "$ph" import nowhere --store no
empty() {
    : >empty-log
    "$ph" import empty-log --store empty && "$ph" check --against "$logs/installed" --store empty &&
        "$ph" changes --store empty && "$ph" busiest --store empty && "$ph" sessions --store empty
}
check "an empty log is a history, too" empty

# ---- A replay that is not the truth has to be noticed ---------------------------------------

lie() {
    sed "$2" "$logs/installed" >lie
    check "$1" says "$3" "$ph" check --against lie
    check "$1: the exit code says it, too" fails 1 "$ph" check --against lie
}
lie "another version is noticed" 's/^taker:all 1 /taker:all 2 /' \
    "taker:all: the log says installed 1, dpkg says installed 2"
lie "another state is noticed" 's/^fail:all 1 .*/fail:all 1 installed/' \
    "fail:all: the log says half-configured 1, dpkg says installed 1"
lie "a package that is gone is noticed" '/^cross/d' \
    "cross:amd64: the log says installed 3, dpkg says not-installed"
lie "a package that came back is noticed" '$a plain:all 1.0 installed' \
    "plain:all: the log says not-installed , dpkg says installed 1.0"

# ---- Local time ------------------------------------------------------------------------------

# In the night when clocks go back, 02:30 comes twice: first in summer time.
autumn() {
    {
        echo "2024-10-27 01:59:59 status installed a:all 1"
        echo "2024-10-27 02:30:00 status installed b:all 1"
        echo "2024-10-27 02:59:59 status installed c:all 1"
        echo "2024-10-27 02:00:01 status installed d:all 1"
        echo "2024-10-27 02:30:00 status installed e:all 1"
        echo "2024-10-27 03:00:00 status installed f:all 1"
    } >autumn
    export TZ=CET-1CEST,M3.5.0,M10.5.0/3
    "$ph" import autumn --store autumn-store &&
        TZ=UTC0 same "2024-10-26 23:59:59
2024-10-27 00:30:00
2024-10-27 00:59:59
2024-10-27 01:00:01
2024-10-27 01:30:00
2024-10-27 02:00:00" "$(for p in a b c d e f; do
            TZ=UTC0 "$ph" history $p --all --store autumn-store | grep -o '2024-10-2. ..:..:..'
        done)"
}
check "the hour that comes twice in autumn comes twice" autumn
export TZ=UTC0

# ---- Versions --------------------------------------------------------------------------------

# dpkg's own comparison says what every pair should have been called.
versions="0 1 1.0 1.0-1 1.0-1.1 1.0~rc1-1 1.0~~ 1.0+b1 1:0 2:0.1 1.10 1.9 1.a 1.Z 1.0-0 1.00 1.2-3-4
99999999999999999999 1+~"
compare_versions() {
    local a b want
    for a in $versions; do
        for b in $versions; do
            echo "2024-01-01 10:00:00 upgrade p:all $a $b" >&3
            echo "2024-01-01 10:00:00 status installed p:all $b" >&3
            if dpkg --compare-versions "$a" lt "$b"; then
                want=PackageUpgraded
            elif dpkg --compare-versions "$a" gt "$b"; then
                want=PackageDowngraded
            else
                want=PackageReinstalled
            fi
            echo "$want $a $b"
        done
    done 3>compared >wanted
    "$ph" import compared --store compared-store >/dev/null || return 1
    same "$(cat wanted)" "$("$ph" history p --store compared-store |
        awk '/->/ { print $3, $4, $6 }')"
}

# ---- dpkg itself -----------------------------------------------------------------------------

# package NAME VERSION ARCHITECTURE [LINE FOR CONTROL]: makes NAME_VERSION_ARCHITECTURE.deb, with a
# configuration file and whatever lies in ./extra.
package() {
    rm -rf tree
    mkdir -p tree/DEBIAN tree/etc tree/usr/share/made
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: A <a@example.org>\n%s%s' \
        "$1" "$2" "$3" "${4:+$4
}" 'Description: made for a test
' >tree/DEBIAN/control
    # A package all of whose files another one takes over disappears: only gone may.
    [ "$1" = gone ] || echo "$1" >"tree/usr/share/$1-$3"
    [ -d extra ] && cp -r extra/. tree/
    dpkg-deb -Znone -b tree "$1_${2//:/%3a}_$3.deb" >/dev/null
}

# A dpkg of its own: nothing of this machine is touched, and no script of a package can run.
run_dpkg() {
    dpkg --root="$work/root" --log="$work/real.log" --force-bad-path --force-not-root \
        --force-confold "$@" </dev/null >>dpkg.out 2>&1
}

real_dpkg() {
    mkdir -p root/var/lib/dpkg/{info,updates,triggers}
    : >root/var/lib/dpkg/status
    : >real.log
    run_dpkg --add-architecture i386
    local native
    native=$(dpkg --print-architecture)

    package plain 1 all && package plain 2 all
    package cross 1 "$native" && package cross 2 all
    package same 1 "$native" 'Multi-Arch: same' && package same 1 i386 'Multi-Arch: same'
    mkdir -p extra/etc extra/DEBIAN && echo 1 >extra/etc/conf && echo /etc/conf >extra/DEBIAN/conffiles
    package conf 1:1 all && package conf 1:2 all
    rm -r extra && mkdir -p extra/usr/share/made && echo x >extra/usr/share/made/file
    package gone 1 all && package taker 1 all 'Replaces: gone'
    rm -r extra && mkdir -p extra/DEBIAN && printf '#!/nowhere\n' >extra/DEBIAN/postinst
    chmod 755 extra/DEBIAN/postinst
    package fails 1 all
    rm -r extra && mkdir -p extra/DEBIAN && printf '#!/nowhere\n' >extra/DEBIAN/preinst
    chmod 755 extra/DEBIAN/preinst
    package refuses 1 all && package plain 3 all
    rm -r extra && mkdir -p extra/DEBIAN
    echo 'interest /usr/share' >extra/DEBIAN/triggers
    package trigger 1 all
    rm -r extra

    run_dpkg -i plain_1_all.deb
    run_dpkg -i plain_2_all.deb plain_1_all.deb plain_1_all.deb plain_2_all.deb plain_3_all.deb
    run_dpkg -i conf_1%3a1_all.deb && echo changed >root/etc/conf
    run_dpkg -i conf_1%3a2_all.deb
    run_dpkg -r conf
    run_dpkg -i conf_1%3a1_all.deb
    run_dpkg -P conf
    run_dpkg -i conf_1%3a2_all.deb
    run_dpkg -r conf
    run_dpkg -i "cross_1_$native.deb"
    run_dpkg -i cross_2_all.deb
    run_dpkg -i same_1_*.deb
    run_dpkg -r same:i386
    run_dpkg -i gone_1_all.deb
    run_dpkg -i trigger_1_all.deb
    run_dpkg -i taker_1_all.deb
    run_dpkg -i fails_1_all.deb
    run_dpkg -i refuses_1_all.deb
    run_dpkg --no-triggers -i plain_1_all.deb
    run_dpkg --no-triggers --unpack "cross_1_$native.deb"
    "$ph" import real.log --store real &&
        "$ph" check --store real --admindir "$work/root/var/lib/dpkg"
}
# How many packages are in each state, so that the test cannot have become empty.
real_states() {
    dpkg-query --admindir="$work/root/var/lib/dpkg" -W -f='${db:Status-Status}\n' | sort | uniq -c |
        awk '{ print $2, $1 }'
}

if command -v dpkg-deb >/dev/null; then
    check "versions are compared as dpkg compares them" compare_versions
    check "what dpkg did here is replayed to what dpkg-query says" real_dpkg
    check "and it had packages in many states" same "config-files 1
half-configured 1
installed 2
triggers-awaited 1
triggers-pending 1
unpacked 1" "$(real_states)"

    # A package that changes without a line in the log is noticed and explained.
    behind_its_back() {
        dpkg --root="$work/root" --log=/dev/null --force-bad-path --force-not-root -P conf \
            >>dpkg.out 2>&1
        "$ph" check --store real --admindir "$work/root/var/lib/dpkg" | tee explained
        grep 'conf:all: the log says config-files 1:2, dpkg says not-installed' explained &&
            grep 'removed after .* by a dpkg that wrote' explained
    }
    check "a change without a line is noticed and explained" behind_its_back
else
    skip "versions are compared as dpkg compares them" "dpkg-deb is not installed"
fi

# ---- This machine ----------------------------------------------------------------------------

# Somebody may be installing packages just now, so a difference counts if it stays.
unset TZ
this_machine() {
    local try
    for try in 1 2 3; do
        "$ph" import --store machine && "$ph" check --store machine && return 0
        sleep 3
    done
    return 1
}
if command -v dpkg-query >/dev/null; then
    check "the log of this machine is replayed to what dpkg-query says" this_machine
    check "every installed package is known" \
        same "$(dpkg-query -W -f='${db:Status-Status}\n' | grep -cx installed)" \
        "$("$ph" installed --brief --store machine | grep -o '[0-9,]* packages*' | tr -dc 0-9)"
else
    skip "the log of this machine is replayed to what dpkg-query says" "this is no Debian"
fi
finish

# shellcheck shell=bash
# What the drivers of this directory share. They source it and get the directory of the programs.
set -u
programs=$1
export LC_ALL=C
unset STELE_STORE
work=$(mktemp -d "${TMPDIR:-/tmp}/stele-stress.XXXXXX")
store=$work/store
writer=
follower=
points=0
failures=0
RANDOM=${STELE_SEED:=$((SRANDOM % 32768))}
echo "# STELE_SEED=$STELE_SEED"

# Ends what this script has started, and nothing else.
stop() {
    local pid=$1
    [ -z "$pid" ] || { kill -9 "$pid" && wait "$pid"; } 2>/dev/null
}

finish() {
    stop "$writer"
    stop "$follower"
    if [ "$failures" -eq 0 ]; then
        rm -rf "$work"
    else
        echo "# kept for looking at: $work"
    fi
}
trap finish EXIT

point() {
    points=$((points + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $points - $1"
    else
        failures=$((failures + 1))
        echo "not ok $points - $1"
        tail -n 20 "$work/log" | sed 's/^/#   /'
    fi
}

conclude() {
    echo "1..$points"
    [ "$failures" -eq 0 ]
    exit
}

# skip_all REASON
skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

new_store() {
    rm -rf "$store" "$work"/notes* "$work/seen"
}

# start_writer ROUND [OPTION …]. Options of the store change from round to round.
start_writer() {
    local round=$1
    local -a segments=(65536 65536 131072 1048576) memories=(4096 8192 16384 65536)
    shift
    "$programs/writer" "$store" "$work/notes" "$round" \
        segment="${segments[RANDOM % 4]}" memory="${memories[RANDOM % 4]}" \
        compress="$((RANDOM % 2))" "$@" >>"$work/log" 2>&1 &
    writer=$!
}

start_follower() {
    "$programs/follower" "$store" "$work/seen" >>"$work/log" 2>&1 &
    follower=$!
}

# pause LEAST MOST, in milliseconds.
pause() {
    local ms=$(($1 + RANDOM % ($2 - $1 + 1)))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}

judge() {
    "$programs/judge" "$store" "$work/notes" "$work/seen" "$@" >>"$work/log" 2>&1
}

# ---- A disk of one's own ----

disk=$work/disk

# own_disk ARGUMENT …: goes on in a mount namespace of its own, so that nothing stays mounted,
# whatever happens; skips everything where that cannot be had.
own_disk() {
    local program
    [ "$(id -u)" -eq 0 ] || skip_all "needs root"
    for program in mkfs.ext4 mkfs.xfs losetup unshare; do
        command -v "$program" >/dev/null || skip_all "needs $program"
    done
    losetup --find >/dev/null 2>&1 || skip_all "needs loop devices"
    if [ -z "${STELE_OWN_MOUNTS:-}" ]; then
        unshare -m true 2>/dev/null || skip_all "needs a mount namespace of its own"
        rm -rf "$work"
        STELE_OWN_MOUNTS=1 STELE_SEED=$STELE_SEED exec unshare -m "$0" "$@"
    fi
    mkdir "$disk"
    store=$disk/store
    # A mount that is still there keeps its files from being removed; then nothing is removed.
    # shellcheck disable=SC2154
    trap 'ended=$?; leave_disk; finish; exit $ended' EXIT
}

leave_disk() {
    stop "$writer"
    stop "$follower"
    ! mountpoint -q "$disk" || umount "$disk" || umount -l "$disk"
}

mount_disk() {
    mount -o loop "$work/image" "$disk"
}

# new_disk TYPE MIB
new_disk() {
    ! mountpoint -q "$disk" || umount "$disk" || return
    rm -f "$work/image"
    truncate -s "$2M" "$work/image"
    case $1 in
    ext4) mkfs.ext4 -q -F "$work/image" ;;
    xfs) mkfs.xfs -q "$work/image" ;;
    esac >>"$work/log" 2>&1 && mount_disk
}

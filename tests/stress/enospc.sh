#!/usr/bin/env bash
# A disk that is full refuses appends, serves reads, and goes on without reopening once it is not
# full any more.
#
# Method: enospc.c on a small ext4 and on a small XFS of its own, in a file.
#
# STELE_ENOSPC_ROUNDS of each, 20 by default. Needs root and loop devices.
. "$(dirname "${BASH_SOURCE[0]}")/rounds.sh"

rounds=${STELE_ENOSPC_ROUNDS:-20}
own_disk "$@"
: >"$work/log"

fill_and_free() {
    new_disk "$1" "$2" &&
        "$programs/enospc" "$disk" "$rounds" "$STELE_SEED" >>"$work/log" 2>&1
}

fill_and_free ext4 64
point "$rounds times full and free again, on ext4" $?
fill_and_free xfs 320
point "$rounds times full and free again, on XFS" $?
conclude

/* Raft groups of one node, on libraft's I/O-free engine (raft_step(), 0.22.1): the one place that knows
 * libraft, what it leaves to its user, and the guards that it needs.
 *
 *     submit, frames of peers, time ──▶ [ groups │ libraft │ WAL ] ──▶ frames to peers
 *                  bytes made durable ──▶                         ──▶ committed entries, roles
 *
 * All groups share the WAL (raft/wal.h), its group commit, and one frame per peer and turn. A message of a group is
 * held until the term, vote and entries that it rests on are durable (K6).
 *
 * Pure: no thread, lock, clock, random source or system call but through struct stele_io. It never
 * calls back from within a call of its owner, except the functions of struct stele_raft_env, and those only from
 * stele_raft_open() (stored() only) and stele_raft_turn(). One thread at a time.
 *
 *     loop:  receive()*  submit()*  done()*  ──▶  turn()  ──▶  take() → write → done() */
#ifndef STELE_RAFT_RAFT_H
#define STELE_RAFT_RAFT_H

#include "raft/wal.h"

#define STELE_RAFT_NODES_MAX 64
#define STELE_RAFT_GROUPS_MAX 1025 /* 1024 partitions and the meta group. */
#define STELE_RAFT_SNAPSHOT_SIZE_MAX ((size_t)64 * 1024)

struct stele_raft;

enum stele_raft_role { STELE_RAFT_FOLLOWER, STELE_RAFT_CANDIDATE, STELE_RAFT_LEADER };
enum stele_raft_member { STELE_RAFT_NONE, STELE_RAFT_STANDBY, STELE_RAFT_VOTER };

struct stele_raft_entry {
    uint64_t index, term;
    struct stele_bytes payload; /* Valid during the call. */
};

struct stele_raft_status {
    enum stele_raft_role role;
    uint64_t term;
    uint64_t leader; /* Node; 0: not known. */
    uint64_t first_index, last_index, stored_index, commit_index, snapshot_index;
    bool installing; /* A snapshot, which the owner has been asked for. */
};

struct stele_raft_env {
    /* For a peer: everything of this turn, one frame. Copied before it returns. It may be lost, late, twice. */
    void (*send)(void *context, uint64_t node, struct stele_bytes frame);
    /* An entry has been written to this node's WAL (durable or not, committed or not), also while opening: for clocks
     * that must stay above it. Entries without payload and changes of membership are not told. */
    void (*stored)(void *context, uint32_t group, const struct stele_raft_entry *entry);
    /* Committed and durable here. In order of index, without gaps but those of snapshots, each once since opening:
     * beginning behind the snapshot that the WAL has. Also told for entries that libraft or membership made: their
     * payload is empty. */
    void (*committed)(void *context, uint32_t group, const struct stele_raft_entry *entry);
    /* Role, term or leader of a group have changed. */
    void (*changed)(void *context, uint32_t group, const struct stele_raft_status *status);
    /* The group's log continues behind (index, term), which only a snapshot has: data is what stele_raft_snapshot()
     * was given on the leader. The owner brings itself there and then calls stele_raft_installed(); entries up to
     * index are not told. Until then the group does nothing else. */
    void (*install)(void *context, uint32_t group, uint64_t from, uint64_t index, uint64_t term,
                    struct stele_bytes data);
};

struct stele_raft_options {
    struct stele_wal_options wal;
    uint64_t node;         /* Own number, 1 … ; stands for one incarnation of the disk. */
    uint32_t groups_count; /* Groups are 0 … groups_count - 1. */
    /* Of a new node only: the members that every group begins with, the same on all of them (at most
     * STELE_RAFT_NODES_MAX); none: it waits to be added. */
    const uint64_t *founders;
    size_t founders_count;
    uint64_t seed; /* Of the randomness of elections. */
    uint32_t election_ms, heartbeat_ms;
    uint32_t entries_in_flight_max; /* To one follower of one group. */
    uint64_t message_size_max;      /* Payload bytes in one AppendEntries. */
    uint64_t cache_size;            /* Bytes of payloads in memory, of all groups. */
    uint32_t trailing; /* Entries kept behind a snapshot, for followers that lag a little … */
    uint64_t wal_keep; /* … as far as they lie within so many bytes from the WAL's end. */
};

/* 300 ms elections, 60 ms heartbeats, …: what tests/ and the server begin with. */
struct stele_raft_options stele_raft_options_default(void);

/* Opens the WAL and starts every group.
 * STELE_OK, STELE_E_INVALID (bad options, or others than before), or as stele_wal_open(). */
STELE_MUST_USE
int stele_raft_open(struct stele_io *io, const struct stele_raft_options *options,
                    const struct stele_raft_env *env, void *context, int64_t now_ms,
                    struct stele_raft **out_raft, struct stele_error *err);
void stele_raft_close(struct stele_raft *raft); /* NULL is fine. Writes nothing. */

/* ---- In ---- */

/* A frame of another node. What it means happens in the next turn. A frame that is malformed, of another version or for
 * another node: STELE_E_INVALID, and nothing of it counts. */
STELE_MUST_USE
int stele_raft_receive(struct stele_raft *raft, uint64_t from, struct stele_bytes frame,
                       struct stele_error *err);

/* Appends an entry as leader of exactly this term, in the next turn; payload is copied. Several of a turn become one step.
 * STELE_OK: it is on its way, which promises nothing. *out_index: where it will be.
 * STELE_NOT_FOUND: not the leader in that term, or about to hand over. STELE_E_OVERLOADED: too much is on its way.
 * STELE_E_NO_MEMORY, STELE_E_FENCED, STELE_E_NO_SPACE. */
STELE_MUST_USE
int stele_raft_submit(struct stele_raft *raft, uint32_t group, uint64_t term,
                      struct stele_bytes payload, uint64_t *out_index);

/* Works off what came in, what has become durable and what is due at now_ms (monotonic, from any origin), then sends.
 * The env's functions are called from here. STELE_OK, or STELE_E_FENCED, STELE_E_CORRUPT, STELE_E_NO_MEMORY …:
 * the node must stop; nothing was told or sent that is not true. */
STELE_MUST_USE
int stele_raft_turn(struct stele_raft *raft, int64_t now_ms, struct stele_error *err);
/* When turn() wants to be called next if nothing else happens. */
int64_t stele_raft_due_ms(const struct stele_raft *raft);

/* Group commit: as stele_wal_take(), stele_wal_done(); after done() a turn follows. */
bool stele_raft_take(struct stele_raft *raft, struct stele_wal_group *out_group);
void stele_raft_done(struct stele_raft *raft, uint64_t id, int outcome);

/* ---- State machine ---- */

/* Everything of the group up to index (committed, told) has its effect elsewhere, durably: a snapshot that consists of
 * data (at most 64 KiB, what install() gets elsewhere). Entries up to it may leave the WAL, but for the trailing ones. */
STELE_MUST_USE
int stele_raft_snapshot(struct stele_raft *raft, uint32_t group, uint64_t index,
                        struct stele_bytes data, struct stele_error *err);
/* What install() asked for is done, durably. */
STELE_MUST_USE
int stele_raft_installed(struct stele_raft *raft, uint32_t group, struct stele_error *err);
/* Drops what no group needs any more from the WAL; call it now and then. */
STELE_MUST_USE
int stele_raft_trim(struct stele_raft *raft, struct stele_error *err);

/* ---- Membership: each returns at once; the effect is seen later ---- */

/* As leader: makes node a standby, a voter, or nothing. One change at a time and group; guards: an entry of the own term is
 * committed, all other voters know the last committed change, a voter-to-be has caught up.
 * STELE_OK: on its way, or already so. STELE_INCOMPLETE: not now, ask again. STELE_NOT_FOUND: not leader.
 * STELE_E_INVALID: never (would leave no voter …). */
STELE_MUST_USE
int stele_raft_configure(struct stele_raft *raft, uint32_t group, uint64_t node,
                         enum stele_raft_member member, struct stele_error *err);
/* The members of the newest configuration (committed or not). Returns how many there are. */
size_t stele_raft_members(const struct stele_raft *raft, uint32_t group,
                          uint64_t nodes[STELE_RAFT_NODES_MAX],
                          enum stele_raft_member members[STELE_RAFT_NODES_MAX]);
/* As leader: hands leadership to a voter; 0: to the best. Submits are refused meanwhile (at most an election timeout). As
 * configure(). */
STELE_MUST_USE
int stele_raft_transfer(struct stele_raft *raft, uint32_t group, uint64_t to,
                        struct stele_error *err);

/* ---- Facts ---- */
void stele_raft_status(const struct stele_raft *raft, uint32_t group,
                       struct stele_raft_status *out_status);
/* Of the snapshot behind which the group's log begins: its data, valid until the next turn; none: size 0. What
 * an owner needs after opening, before anything is told. */
struct stele_bytes stele_raft_snapshot_data(const struct stele_raft *raft, uint32_t group);
/* The disk has no room for the log: what this node leads does not go on until there is, or another one leads it. */
bool stele_raft_is_full(const struct stele_raft *raft);
/* As leader: the index up to which a follower is known to have the log; 0: unknown. */
uint64_t stele_raft_match(const struct stele_raft *raft, uint32_t group, uint64_t node);
struct stele_raft_counts {
    uint64_t groups_led, elections, entries_submitted, entries_committed, frames_sent,
        frames_received, messages_sent, messages_received, messages_dropped, installs_begun,
        wal_bytes, wal_size;
};
void stele_raft_counts(const struct stele_raft *raft, struct stele_raft_counts *out_counts);
void stele_raft_check(const struct stele_raft *raft);

#endif

/* Shared by the files of src/raft that make up the driver. Nobody else includes it, but for its tests.
 *
 *     frame.c    what nodes say to each other, as bytes
 *     members.c  configurations: as bytes, as libraft wants them; changing them
 *     entries.c  a group's log: where each entry lies, which payloads are in memory
 *     step.c     one event into libraft, and what follows from it
 *     receive.c  messages of others into libraft; the guards
 *     outbox.c   messages to others, until they are sent
 *     turn.c     the order of things within a turn
 *     recover.c  from records of the WAL to started groups
 *     trim.c     snapshots, and letting go of the WAL
 *     raft.c     opening, closing, facts */
#ifndef STELE_RAFT_RAFT_INTERNAL_H
#define STELE_RAFT_RAFT_INTERNAL_H

#include "base/limits.h"
#include "raft/raft.h"

#include <raft.h>

/* libraft counts what follows from a step in milliseconds from any origin, but 0 is special to it. */
#define STELE_RAFT__TIME_ORIGIN 1000000

/* A record that has not found room in the WAL yet. */
#define STELE_RAFT__UNPLACED UINT64_MAX

/* ---- Configurations (members.c) ---- */

struct stele_raft__members {
    uint64_t index; /* Of the entry that made it so; 0: nobody is a member. */
    uint32_t count;
    uint8_t roles[STELE_RAFT_NODES_MAX]; /* RAFT_VOTER, RAFT_STANDBY. */
    uint64_t nodes[STELE_RAFT_NODES_MAX];
};

/* In libraft's encoding, which it decodes itself without looking where the bytes end: so whatever comes from
 * outside has to pass here first. Addresses are the numbers of the nodes, in decimal. index is left alone. */
STELE_MUST_USE
bool stele_raft__members_decode(struct stele_bytes bytes, struct stele_raft__members *out_members);
#define STELE_RAFT__MEMBERS_SIZE_MAX (16 + STELE_RAFT_NODES_MAX * 32)
size_t stele_raft__members_encode(const struct stele_raft__members *members,
                                  uint8_t to[STELE_RAFT__MEMBERS_SIZE_MAX]);
/* For libraft to own. STELE_OK or STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_raft__members_export(const struct stele_raft__members *members,
                               struct raft_configuration *out_configuration);
int stele_raft__members_role(const struct stele_raft__members *members, uint64_t node); /* -1. */
uint32_t stele_raft__members_voters(const struct stele_raft__members *members);
#define STELE_RAFT__ADDRESS_SIZE 24
void stele_raft__address(uint64_t node, char to[STELE_RAFT__ADDRESS_SIZE]);

/* ---- Frames (frame.c) ---- */

#define STELE_RAFT__FRAME_HEADER_SIZE 32
#define STELE_RAFT__PAYLOAD_SIZE_MAX ((uint64_t)96 * 1024 * 1024)

/* Begins a frame in an empty buffer. */
STELE_MUST_USE
int stele_raft__frame_begin(struct stele_buf *frame, struct stele_alloc *alloc, uint64_t from,
                            uint64_t to);
/* Writes count and checksum. */
void stele_raft__frame_end(struct stele_buf *frame, uint32_t count);
/* One message, but for the entries of AppendEntries: the caller appends n_entries of them behind it, and calls
 * stele_raft__frame_close() with the offset that frame->size had before. */
STELE_MUST_USE
int stele_raft__frame_message(struct stele_buf *frame, struct stele_alloc *alloc, uint32_t group,
                              const struct raft_message *message, struct stele_bytes members,
                              struct stele_bytes data);
STELE_MUST_USE
int stele_raft__frame_entry(struct stele_buf *frame, struct stele_alloc *alloc, uint64_t term,
                            uint8_t type, struct stele_bytes payload);
void stele_raft__frame_close(struct stele_buf *frame, size_t offset);

/* A received message. Entries, members and data point into the frame. */
struct stele_raft__received {
    uint32_t group;
    struct raft_message message;      /* Without address; without entries, configuration, data. */
    struct stele_bytes entries;       /* AppendEntries: for stele_raft__frame_next_entry(). */
    struct stele_bytes members, data; /* InstallSnapshot. */
};
struct stele_raft__received_entry {
    uint64_t term;
    uint8_t type;
    struct stele_bytes payload;
};
/* Does the frame consist of messages that make sense by themselves, from this node to that one, for that many
 * groups? Afterwards the functions below never fail. */
STELE_MUST_USE
bool stele_raft__frame_is_valid(struct stele_bytes frame, uint64_t from, uint64_t to,
                                uint32_t groups_count, const char **out_why);
/* *offset begins at 0. false: the end. */
bool stele_raft__frame_next(struct stele_bytes frame, size_t *offset,
                            struct stele_raft__received *out_received);
bool stele_raft__frame_next_entry(struct stele_bytes *entries,
                                  struct stele_raft__received_entry *out_entry);

/* ---- A group's log (entries.c) ---- */

/* In the list of all that are in memory, oldest first. */
struct stele_raft__payload {
    struct stele_raft__payload *older, *newer;
    uint64_t index;
    uint32_t group;
    uint32_t size;
    uint8_t data[];
};

struct stele_raft__entry {
    uint64_t term;
    uint64_t place;                      /* In the WAL, or STELE_RAFT__UNPLACED. */
    struct stele_raft__payload *payload; /* NULL: not in memory. */
    uint32_t size;
    uint8_t type; /* enum raft_entry_type. */
};

/* Something to be appended in the next turn. */
struct stele_raft__submit {
    struct stele_raft__submit *next;
    struct stele_raft__payload *payload;
    uint64_t term;
    uint8_t type;
};

/* A message that waits: for durability in its group, or for the end of the turn at its peer. */
struct stele_raft__message {
    struct stele_raft__message *next;
    uint32_t group;
    struct raft_message message; /* Without pointers. */
};

struct stele_raft__queue {
    struct stele_raft__message *first, **end;
    uint32_t count;
};

struct stele_raft__snapshot {
    uint64_t index, term; /* 0: none. */
    uint64_t place;
    struct stele_raft__members members; /* As of index. */
    struct stele_buf data;              /* The owner's. */
};

struct stele_raft__group {
    struct raft raft;
    uint32_t number;
    bool started;
    bool dirty;        /* In the list of groups to be looked after before the turn ends. */
    bool pending;      /* In the list of groups that wait for the WAL. */
    bool want_barrier; /* Leader, and nothing of its own term is in the log yet. */
    bool hard_pending; /* Term and vote are not durable: messages wait. */
    uint32_t next_dirty;

    /* first - 1 is the index before; the entry at index lies in slot index % capacity. */
    struct stele_raft__entry *entries;
    uint64_t capacity; /* A power of two, or 0. */
    uint64_t first, last;
    uint64_t stored; /* libraft knows that entries up to here are durable. */
    uint64_t told;   /* The owner knows that entries up to here are committed. */
    uint64_t size_average;

    uint64_t term, vote, hard_place;
    uint64_t alone_term; /* The term for which it has voted for itself as the only voter. */

    /* Configurations behind that of the snapshot, in order. */
    struct stele_raft__members *configs;
    uint32_t configs_count, configs_capacity;

    struct stele_raft__snapshot snapshot;
    /* What install() has been asked for, until it is durable. */
    bool installing, installed;
    bool install_told;
    uint64_t install_from;
    uint64_t install_floor; /* The old log begins there in the WAL, where it stays until then. */
    struct stele_raft__snapshot install;

    struct stele_raft__submit *submits, **submits_end;
    uint64_t submits_count;
    struct stele_raft__queue held;
    bool change_wanted; /* A change of members is among the submits. */
    bool transfer_wanted;
    uint64_t transfer_to;

    int64_t leader_heard_ms;
    uint64_t leader_term; /* As a follower: the term that its leader was last heard in. */
    int64_t beat_ms;      /* The last timeout as leader, or the last moment as something else. */
    enum stele_raft_role role_told;
    uint64_t term_told, leader_told;
};

/* What a peer was last sent of a group. */
struct stele_raft__sent {
    struct stele_raft__message *queued; /* AppendEntries in the queue of this turn. */
    int64_t at_ms;
    uint64_t term, begin, end, commit; /* Of the last AppendEntries. */
};

struct stele_raft__peer {
    uint64_t node; /* 0: free. */
    bool is_full;  /* Has no room on disk. */
    int64_t heard_ms;
    struct stele_raft__queue queue;
    struct stele_raft__sent *sent; /* Of each group. */
};

struct stele_raft__inbound {
    struct stele_raft__inbound *next;
    uint64_t from;
    size_t size;
    uint8_t data[];
};

struct stele_raft {
    struct stele_io *io;
    struct stele_alloc *alloc;
    struct stele_wal *wal;
    struct stele_raft_options options;
    struct stele_raft_env env;
    void *context;
    char address[STELE_RAFT__ADDRESS_SIZE];

    struct stele_raft__group *groups;
    struct stele_raft__peer peers[STELE_RAFT_NODES_MAX];
    uint32_t full_count;  /* Peers without room. */
    uint32_t dirty_first; /* UINT32_MAX: none. */
    uint32_t *pending;    /* Groups that wait for the WAL. */
    uint32_t *pending_spare;
    uint32_t pending_count;
    int64_t *dues_ms; /* Of each group. */
    bool stalled;     /* The WAL has no room: records wait in memory. */
    bool more;        /* Something was left for the next turn. */
    bool turning;
    bool beating; /* What is sent are heartbeats. */
    int failed;   /* What a turn ended with; all later ones do too. */

    int64_t now_ms, origin_ms, due_ms;
    uint64_t durable;

    struct stele_raft__payload *oldest, *newest; /* In memory. */
    uint64_t cache_bytes;
    uint64_t submitted_bytes; /* Waiting for the next turn. */

    struct stele_raft__inbound *inbound, **inbound_end;
    uint64_t inbound_bytes;
    struct stele_raft__message *free_messages;
    const struct stele_raft__received *receiving; /* During its step. */
    bool entries_taken;                           /* By libraft, in the last step. */

    struct stele_buf frame, scratch;
    struct raft_entry *batch; /* For events with entries. */
    struct stele_raft__payload **batch_payloads;
    uint32_t batch_capacity;

    /* The WAL's end has been quiet_end since quiet_ms. */
    uint64_t quiet_end;
    int64_t quiet_ms;

    /* Trimming in two halves: what is still needed has been put again up to … and then … goes. */
    bool trimming;
    uint64_t trim_after, trim_to;

    struct stele_raft_counts counts;
};

static inline struct stele_raft__entry *stele_raft__at(const struct stele_raft__group *group,
                                                       uint64_t index)
{
    STELE_ASSERT(index >= group->first);
    STELE_ASSERT(index <= group->last);
    return &group->entries[index & (group->capacity - 1)];
}

/* 0: not known. The snapshot's own index is. */
uint64_t stele_raft__term_of(const struct stele_raft__group *group, uint64_t index);
/* A payload for the list, not in it yet. */
struct stele_raft__payload *stele_raft__payload_create(struct stele_raft *raft,
                                                       struct stele_bytes bytes);
void stele_raft__payload_destroy(struct stele_raft *raft, struct stele_raft__payload *payload);
/* Drops index and everything behind it. */
void stele_raft__truncate(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index);
/* Drops everything up to index. */
void stele_raft__forget(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index);
/* Makes room for an entry at last + 1 (or at index if the log is empty) and fills it in. */
STELE_MUST_USE
int stele_raft__add(struct stele_raft *raft, struct stele_raft__group *group, uint64_t term,
                    uint8_t type, uint32_t size, uint64_t place);
/* Gives the entry its payload, which is the log's from now on. */
void stele_raft__keep(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index,
                      struct stele_raft__payload *take_payload);
/* The bytes of an entry, from memory or the WAL: valid until the next call, or until entries are added or dropped. */
STELE_MUST_USE
int stele_raft__payload(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index,
                        struct stele_bytes *out_bytes, struct stele_error *err);
void stele_raft__evict(struct stele_raft *raft);
/* Queues something to be appended; the payload is copied. STELE_OK or STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_raft__submit_put(struct stele_raft *raft, struct stele_raft__group *group, uint64_t term,
                           uint8_t type, struct stele_bytes payload);
/* Records into the WAL; what finds no room stays in memory and is tried again in each turn. */
STELE_MUST_USE
int stele_raft__put_hard(struct stele_raft *raft, struct stele_raft__group *group,
                         struct stele_error *err);
/* Of term and vote that are durable, or on their way, in another place. */
STELE_MUST_USE
int stele_raft__put_hard_again(struct stele_raft *raft, struct stele_raft__group *group,
                               struct stele_error *err);
STELE_MUST_USE
int stele_raft__put_entry(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index,
                          bool again, struct stele_error *err);
STELE_MUST_USE
int stele_raft__put_snapshot(struct stele_raft *raft, struct stele_raft__group *group,
                             struct stele_raft__snapshot *snapshot, bool install,
                             struct stele_error *err);
/* Everything that has found no room. */
STELE_MUST_USE
int stele_raft__put_stalled(struct stele_raft *raft, struct stele_error *err);

void stele_raft__pend(struct stele_raft *raft, struct stele_raft__group *group);

/* The type of an entry's record: enum raft_entry_type, and whether it repeats an entry so that its first record
 * may go. */
#define STELE_RAFT__AGAIN 0x80
/* The payload of a snapshot's record. */
#define STELE_RAFT__SNAPSHOT_HEADER_SIZE 16
#define STELE_RAFT__SNAPSHOT_VERSION 1
#define STELE_RAFT__SNAPSHOT_INSTALL 1 /* The log before it is void. */

/* ---- Configurations of a group (members.c) ---- */

/* That of the entry at index or the last before it; NULL: nobody is a member. */
const struct stele_raft__members *stele_raft__members_at(const struct stele_raft__group *group,
                                                         uint64_t index);
STELE_MUST_USE
int stele_raft__members_push(struct stele_raft *raft, struct stele_raft__group *group,
                             uint64_t index, struct stele_bytes bytes);

/* ---- Steps (step.c) ---- */

/* Fires the event and does what follows from it. *out_refused: libraft's answer to SUBMIT and TRANSFER, 0: done. */
STELE_MUST_USE
int stele_raft__step(struct stele_raft *raft, struct stele_raft__group *group,
                     struct raft_event *event, int *out_refused, struct stele_error *err);
STELE_MUST_USE
int stele_raft__step_submits(struct stele_raft *raft, struct stele_raft__group *group,
                             struct stele_error *err);
STELE_MUST_USE
int stele_raft__step_timeout(struct stele_raft *raft, struct stele_raft__group *group,
                             struct stele_error *err);
STELE_MUST_USE
int stele_raft__step_configuration(struct stele_raft *raft, struct stele_raft__group *group,
                                   uint64_t index, struct stele_error *err);
/* What has become durable since. */
STELE_MUST_USE
int stele_raft__step_durable(struct stele_raft *raft, struct stele_raft__group *group,
                             struct stele_error *err);
/* Makes libraft's snapshot that of the group, with so many entries kept up to it. */
STELE_MUST_USE
int stele_raft__step_snapshot(struct stele_raft *raft, struct stele_raft__group *group,
                              uint64_t index, uint64_t trailing, struct stele_error *err);
void stele_raft__touch(struct stele_raft *raft, struct stele_raft__group *group);
int stele_raft__outcome(int from_libraft, struct stele_error *err, uint32_t group);
/* Makes room in batch and batch_payloads. STELE_OK or STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_raft__reserve_batch(struct stele_raft *raft, uint32_t count);

/* ---- Messages of others (receive.c) ---- */

STELE_MUST_USE
int stele_raft__step_message(struct stele_raft *raft, uint64_t from,
                             const struct stele_raft__received *received, struct stele_error *err);
bool stele_raft__is_only_voter(const struct stele_raft__group *group, uint64_t node);

/* ---- Messages to others (outbox.c) ---- */

struct stele_raft__message *stele_raft__message_take(struct stele_raft *raft);
void stele_raft__message_release(struct stele_raft *raft, struct stele_raft__message *message);
void stele_raft__queue_clear(struct stele_raft *raft, struct stele_raft__queue *queue);
struct stele_raft__peer *stele_raft__peer(struct stele_raft *raft, uint64_t node);
/* To the queue of its peer. */
STELE_MUST_USE
int stele_raft__post(struct stele_raft *raft, struct stele_raft__group *group,
                     struct stele_raft__message *take_message);
/* What a step says: posted, or held until term and vote are durable. STELE_OK or STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_raft__take_messages(struct stele_raft *raft, struct stele_raft__group *group,
                              const struct raft_event *event, const struct raft_update *update);

/* ---- Turns (turn.c) ---- */
/* When the group wants its next timeout. */
void stele_raft__schedule(struct stele_raft *raft, struct stele_raft__group *group);

/* ---- Recovery (recover.c) ---- */
struct stele_raft__recovery {
    struct stele_raft *raft;
    struct stele_error *err;
};
/* context is one of the above. */
int stele_raft__on_record(void *context, const struct stele_wal_record *record, uint64_t place);
/* Checks what was found, and founds the group if nothing was. */
STELE_MUST_USE
int stele_raft__settle(struct stele_raft *raft, struct stele_raft__group *group,
                       struct stele_error *err);
/* All that was put is durable. */
STELE_MUST_USE
int stele_raft__start(struct stele_raft *raft, struct stele_raft__group *group,
                      struct stele_error *err);

/* ---- Trimming (trim.c) ---- */
STELE_MUST_USE
int stele_raft__trim_go_on(struct stele_raft *raft, struct stele_error *err);

#endif

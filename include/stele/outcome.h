/* What every call of Stele can end with, and the words that go with it.
 *
 * Outcomes are plain ints: an enum's size and range would become part of the binary interface,
 * and new outcomes will come. 0 is success, expected outcomes are positive, errors are negative.
 * Every error but STELE_E_UNKNOWN means: what was asked for has definitely not happened. */
#ifndef STELE_OUTCOME_H
#define STELE_OUTCOME_H

#ifdef __cplusplus
extern "C" {
#endif

#ifndef STELE_API
#define STELE_API __attribute__((visibility("default")))
#endif

#define STELE_OK 0

/* Expected outcomes. The caller decides what they mean; nobody logs them. */
#define STELE_END 1              /* Nothing more to read at this moment. */
#define STELE_WRONG_REVISION 2   /* A stream is not at the revision the caller expected. */
#define STELE_NO_STREAM 3        /* The stream was never written, or was deleted. */
#define STELE_STREAM_DELETED 4   /* The stream was tombstoned: it is closed for ever. */
#define STELE_CONDITION_FAILED 5 /* An event that an append condition forbids exists. */
#define STELE_TIMED_OUT 6        /* The wait ended before anything came. Nothing was changed. */
#define STELE_INCOMPLETE 7       /* More bytes are needed before a decision can be made. */
#define STELE_NOT_FOUND 8        /* The named thing (metadata, file, place) does not exist. */
#define STELE_REJECTED 9         /* A decider refused the command; the reason is in words. */

/* Errors. The operation has definitely not happened, except for STELE_E_UNKNOWN. */
#define STELE_E_INVALID (-1) /* An argument is not allowed; the message names it. */
#define STELE_E_LIMIT (-2)   /* A size or count is above its limit; the message has both. */
#define STELE_E_IO (-3)      /* The operating system reported an error; see os_errno. */
#define STELE_E_NO_SPACE                                                                           \
    (-4) /* The disk is full. Reads go on; appends work again once it is not. */
#define STELE_E_NO_MEMORY (-5)   /* An allocation failed. */
#define STELE_E_CORRUPT (-6)     /* Stored bytes are not the bytes that were written. */
#define STELE_E_LOCKED (-7)      /* Another process writes to this store; the message names it. */
#define STELE_E_NOT_A_STORE (-8) /* The path is no store, or there is none and create is off. */
#define STELE_E_FORMAT (-9)      /* The store was written by a newer version. */
#define STELE_E_READ_ONLY (-10) /* The store was opened for reading, or lies on a read-only disk. */
#define STELE_E_FORKED (-11)    /* The handle was opened before fork(); open a new one. */
#define STELE_E_FENCED (-12)    /* A write failed earlier; nothing is accepted until reopened. */
#define STELE_E_OVERLOADED (-13)  /* A queue is full; try again later. */
#define STELE_E_UNKNOWN (-14)     /* The append may or may not have been stored. Ask again by id. */
#define STELE_E_ID_CONFLICT (-15) /* An event id was used before with different neighbours. */
#define STELE_E_PERMISSION (-16)  /* The operating system denies access. */
#define STELE_E_UNSUPPORTED (-17) /* Not possible on this store, system or file system. */
#define STELE_E_CLOSED (-18)      /* The store or iterator is being closed. */
#define STELE_E_KEY (-19) /* A key is missing, shredded or not the right one; <stele/keys.h>. */

/* What went wrong, in words for a person. Filled only when the outcome says so. Every call that
 * takes one accepts NULL. */
struct stele_error {
    int outcome;       /* One of the above. */
    int os_errno;      /* errno at the failing call, or 0. */
    char message[496]; /* "what was tried: what happened; what to do". */
};

/* "wrong-revision" for STELE_WRONG_REVISION and so on; "unknown-outcome-N" never: an outcome that
 * is not of this list gives "other". The text is constant. */
STELE_API const char *stele_outcome_name(int outcome);

#ifdef __cplusplus
}
#endif

#endif

#include "base/status.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int stele_fail(struct stele_error *err, int outcome, int os_errno, const char *format, ...)
{
    STELE_ASSERT(outcome != STELE_OK);
    STELE_ASSERT(format != NULL);
    if (err != NULL) {
        /* Formatted aside and then copied, because a caller that adds context to a message passes
         * err->message as an argument of the new one. */
        char message[sizeof err->message];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(message, sizeof message, format, args);
        va_end(args);
        memcpy(err->message, message, sizeof message);
        err->outcome = outcome;
        err->os_errno = os_errno;
    }
    return outcome;
}

const char *stele_outcome_name(int outcome)
{
    switch (outcome) {
    case STELE_OK:
        return "ok";
    case STELE_END:
        return "end";
    case STELE_WRONG_REVISION:
        return "wrong-revision";
    case STELE_NO_STREAM:
        return "no-stream";
    case STELE_STREAM_DELETED:
        return "stream-deleted";
    case STELE_CONDITION_FAILED:
        return "condition-failed";
    case STELE_TIMED_OUT:
        return "timed-out";
    case STELE_INCOMPLETE:
        return "incomplete";
    case STELE_NOT_FOUND:
        return "not-found";
    case STELE_REJECTED:
        return "rejected";
    case STELE_E_INVALID:
        return "invalid";
    case STELE_E_LIMIT:
        return "limit";
    case STELE_E_IO:
        return "io-error";
    case STELE_E_NO_SPACE:
        return "no-space";
    case STELE_E_NO_MEMORY:
        return "no-memory";
    case STELE_E_CORRUPT:
        return "corrupt";
    case STELE_E_LOCKED:
        return "locked";
    case STELE_E_NOT_A_STORE:
        return "not-a-store";
    case STELE_E_FORMAT:
        return "format";
    case STELE_E_READ_ONLY:
        return "read-only";
    case STELE_E_FORKED:
        return "forked";
    case STELE_E_FENCED:
        return "fenced";
    case STELE_E_OVERLOADED:
        return "overloaded";
    case STELE_E_UNKNOWN:
        return "unknown";
    case STELE_E_ID_CONFLICT:
        return "id-conflict";
    case STELE_E_PERMISSION:
        return "permission";
    case STELE_E_UNSUPPORTED:
        return "unsupported";
    case STELE_E_CLOSED:
        return "closed";
    case STELE_E_KEY:
        return "key";
    default:
        return "other";
    }
}

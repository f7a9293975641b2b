/* May a consumer of a group see an event itself? Who may read the stream of the group may read its
 * events, but not what a link points to, nor the secrets that pass by among all events. */
#ifndef STELE_SUBS_SIGHT_H
#define STELE_SUBS_SIGHT_H

#include "auth/auth.h"
#include "subs/group.h"

static inline bool stele_group_event_is_for(const struct stele_group_event *event,
                                            struct stele_auth *auth,
                                            const struct stele_principal *principal)
{
    const struct stele_text stream = event->event.stream;
    if (principal->all_rights || principal->is_admin || event->event.type.data == NULL ||
        (event->link.type.data == NULL && !stele_auth_is_secret(stream))) {
        return true;
    }
    return stele_auth_may(auth, principal, stream, STELE_RIGHT_READ);
}

#endif

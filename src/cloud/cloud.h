/* CloudEvents 1.0 and events of a store: which is which, for everything that reads or writes them.
 *
 *     CloudEvent             event
 *     source                 stream, %XX decoded; when the stream is named otherwise (by a path, by
 *                            the attribute "stream"), a kept attribute
 *     id                     id; one that is no UUID is hashed together with the source, which the
 *                            specification calls unique, so that the same CloudEvent gets the same
 *                            id every time; and kept
 *     type, time             type, created
 *     datacontenttype        content type
 *     data, data_base64      data
 *     tags, metadata,        extensions of ours: tags (a JSON list in a string), metadata (its text),
 *     metadatabase64,        or its base64, a tombstone, the stream where the source does not name it
 *     tombstone, stream
 *     revision, position     not taken over: they belong to the store the event came from
 *     subject, dataschema,   kept attributes: members of "cloudevents" in the metadata, from where they
 *     other attributes       return when the event is written as a CloudEvent again
 *
 * Invariants: what is kept is written again as it came; the same source and id give the same event id
 * whichever way they came in. Any thread; nothing here has state. */
#ifndef STELE_CLOUD_CLOUD_H
#define STELE_CLOUD_CLOUD_H

#include "base/bytes.h"
#include "base/compiler.h"

#include <stele/stele.h>

#include <jansson.h>

#define STELE_CLOUD_MEMBER "cloudevents"

/* An attribute with a place of its own in an event. */
bool stele_cloud_is_mapped(const char *name);

/* The stream that a source names. `to` has room for strlen(source) + 1 bytes. false: what comes out is
 * no UTF-8, or has a zero. */
bool stele_cloud_stream(const char *source, char *to);
/* The source that names a stream: a URI reference (RFC 3986), %XX where it needs that. Calls put with
 * the pieces, in order. */
void stele_cloud_source(struct stele_text stream,
                        void (*put)(void *context, const char *text, size_t size), void *context);

/* STELE_OK: a UUID other than all zeros as it stands, or, of any other id, one of version 5 (RFC 9562,
 * section 5.5). STELE_E_UNSUPPORTED: this system has no SHA-1 to make it with. */
STELE_MUST_USE
int stele_cloud_id(const char *source, const char *id, uint8_t out[16]);

/* The metadata of an event made of these attributes, which go to `stream`: a text for free(), or NULL
 * if nothing has to be kept. STELE_E_INVALID: *out_name is the attribute and *out_why (static) what is
 * wrong with it; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_cloud_keep(const json_t *attributes, const char *stream, char **out_metadata,
                     const char **out_name, const char **out_why);

/* The attributes that were kept in an event's metadata; NULL: none. *out_only: there is nothing else in
 * it. The caller decrefs. "id" and "source" among them replace those of the event; when there is a
 * "source", the attribute "stream" has to be written as well. */
json_t *stele_cloud_kept(const void *metadata, size_t size, bool *out_only);

#endif

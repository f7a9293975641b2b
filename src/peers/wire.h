/* What two nodes say to each other on a connection, as bytes. Pure.
 *
 * A frame:
 *
 *     offset  size  field
 *          0     4  magic     "SPF1"
 *          4     1  layout    of this header, 1; the same in all versions of the protocol, because
 *                             they are agreed upon with it
 *          5     1  kind
 *          6     1  lane      that of the connection; one more thing that bytes gone astray have wrong
 *          7     1  0
 *          8     4  size      of the payload
 *         12     4  checksum  CRC-32C of the payload
 *         16     4  checksum  CRC-32C of the sixteen bytes before
 *         20  size  payload
 *
 * The header has a checksum of its own, because its size is believed before the payload is there.
 *
 * A hello, which the answer to one (kind WELCOME) looks like too:
 *
 *          0     2  version    the oldest that it speaks; the one that was chosen, in the answer
 *          2     2  version    the newest; as well
 *          4     1  lane
 *          5     1  size       of the name
 *          6     2  0          not looked at
 *          8    16  cluster    its id
 *         24     8  number     of the node; 0: it has none yet
 *         32    16  incarnation
 *         48     8  boot       random, of this process: attempts are compared within it
 *         56     8  attempt    the number of this connection, growing
 *         64     8  to         number of the node that is meant; 0: whoever it is
 *         72     4  window     bytes of frames that may be on their way, BULK
 *         76  size  name       printable ASCII
 *         ..     2  port       where others find it; 0: it does not say
 *         ..     1  size       of the host
 *         ..  size  host       printable ASCII; empty if the port is 0
 *
 * What stands behind the host is not looked at: later versions put there what they add, and still
 * understand why an older one refuses them.
 *
 * A refusal: its code (2), the size of the words (2), the words. Ping and pong: 8 bytes, which come
 * back as they were. Credit: 8 bytes, how many bytes of DATA payloads were taken since the beginning. */
#ifndef STELE_PEERS_WIRE_H
#define STELE_PEERS_WIRE_H

#include "base/compiler.h"
#include "peers/peers.h"

#define STELE_PEERS_HEADER_SIZE 20
#define STELE_PEERS_HELLO_SIZE 76
#define STELE_PEERS_HELLO_SIZE_MAX 1024 /* With the name, and what later versions add. */
#define STELE_PEERS_WORDS_MAX 400       /* Of a refusal. */
#define STELE_PEERS_REFUSE_SIZE_MAX (4 + STELE_PEERS_WORDS_MAX)

enum stele_peers_kind {
    STELE_PEERS_HELLO = 1, /* Who dials begins. */
    STELE_PEERS_WELCOME,
    STELE_PEERS_REFUSE,
    STELE_PEERS_PING,
    STELE_PEERS_PONG,
    STELE_PEERS_CREDIT,
    STELE_PEERS_DATA,
    STELE_PEERS_REQUEST, /* JOIN only, and its */
    STELE_PEERS_ANSWER,
    STELE_PEERS_KINDS_END,
};

struct stele_peers_frame {
    uint8_t kind;
    uint8_t lane;
    uint32_t size;
    uint32_t checksum; /* Of the payload. */
};

/* Reads the header at the start of bytes. *out_frame is written only on STELE_OK.
 *
 * STELE_INCOMPLETE   There are less than STELE_PEERS_HEADER_SIZE bytes.
 * STELE_E_FORMAT     This is something else, or a layout that is not known.
 * STELE_E_CORRUPT    The header is damaged.
 * STELE_E_LIMIT      No frame of its kind is that large: data is at most data_max. */
STELE_MUST_USE
int stele_peers_frame_decode(struct stele_bytes bytes, uint32_t data_max,
                             struct stele_peers_frame *out_frame);
/* The header of a frame whose payload consists of the parts. */
void stele_peers_frame_encode(uint8_t to[STELE_PEERS_HEADER_SIZE], uint8_t kind, uint8_t lane,
                              const struct stele_bytes *parts, size_t count);

/* STELE_OK or STELE_E_INVALID: too short, a lane, a name or a host that is none. */
STELE_MUST_USE
int stele_peers_hello_decode(struct stele_bytes payload, struct stele_peers_hello *out_hello);
/* Returns the size. */
size_t stele_peers_hello_encode(const struct stele_peers_hello *hello,
                                uint8_t to[STELE_PEERS_HELLO_SIZE_MAX]);

/* words: cut to what fits, made printable. STELE_OK or STELE_E_INVALID. */
STELE_MUST_USE
int stele_peers_refuse_decode(struct stele_bytes payload, uint16_t *out_code,
                              char words[STELE_PEERS_WORDS_MAX + 1]);
size_t stele_peers_refuse_encode(uint16_t code, const char *words,
                                 uint8_t to[STELE_PEERS_REFUSE_SIZE_MAX]);

/* 1 … STELE_PEERS_NAME_MAX printable characters of ASCII, no space; the first one is a letter or a digit. */
bool stele_peers_name_is_valid(const char *name, size_t size);
/* The same, but it may begin with anything but a dot. */
bool stele_peers_host_is_valid(const char *host, size_t size);

#endif

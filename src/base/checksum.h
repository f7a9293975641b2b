/* Checksums and hashes. All are fixed by the formats on disk: changing one is a format change. */
#ifndef STELE_BASE_CHECKSUM_H
#define STELE_BASE_CHECKSUM_H

#include "base/bytes.h"

/* CRC-32C (Castagnoli), as in RFC 3720 B.4; ISA-L does the work. */
uint32_t stele_crc32c(struct stele_bytes bytes);

/* Goes on: stele_crc32c_extend(stele_crc32c(a), b) is the checksum of a followed by b. */
uint32_t stele_crc32c_extend(uint32_t crc, struct stele_bytes bytes);

/* XXH3, 64 bits, seeded: the index's hash of names and ids. */
uint64_t stele_hash64(struct stele_bytes bytes, uint64_t seed);

/* MurmurHash3_x86_32 with seed 0: stream to partition. Published test vectors pin it. */
uint32_t stele_murmur3(struct stele_bytes bytes);

#endif

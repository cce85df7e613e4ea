/* HMAC-SHA1 (RFC 2104, RFC 3174), which STUN and SRTP sign with. For that and nothing else: SHA-1 is no
 * longer fit for signatures, but RFC 8445 agents and SDES know no other.
 *
 * The hash is libcrypto's where that is installed: it is opened at run time, and uses what the processor has for
 * SHA-1. Else it is the one in sha1.c; both make the same tags. */
#ifndef HNT_SHA1_H
#define HNT_SHA1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HNT_SHA1_SIZE = 20 };

/* One stretch of the bytes that are signed. */
struct hnt_piece {
    const uint8_t *data;
    size_t length;
};

/* A key that signs often, with what is the same for all it signs. */
struct hnt_hmac {
    uint32_t inner[5], outer[5];
};

/* Whether libcrypto does the hashing. `choose(false)` has our own code do it, for tests; returns what it is now. */
bool hnt_sha1_is_borrowed(void);
bool hnt_sha1_choose(bool borrowed);

void hnt_hmac_prepare(const uint8_t *key, size_t key_length, struct hnt_hmac *hmac);
void hnt_hmac_digest(const struct hnt_hmac *hmac, const struct hnt_piece *pieces, size_t count,
                     uint8_t digest[HNT_SHA1_SIZE]);

/* Both for a key that signs once. */
void hnt_hmac_sha1(const uint8_t *key, size_t key_length, const struct hnt_piece *pieces, size_t count,
                   uint8_t digest[HNT_SHA1_SIZE]);

#endif

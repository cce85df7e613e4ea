/* HMAC-SHA1 (RFC 2104, RFC 3174), which STUN signs messages with. For that and nothing else: SHA-1 is no
 * longer fit for signatures, but RFC 8445 agents know no other. */
#ifndef HNT_SHA1_H
#define HNT_SHA1_H

#include <stddef.h>
#include <stdint.h>

enum { HNT_SHA1_SIZE = 20 };

/* One stretch of the bytes that are signed. */
struct hnt_piece {
    const uint8_t *data;
    size_t length;
};

void hnt_hmac_sha1(const uint8_t *key, size_t key_length, const struct hnt_piece *pieces, size_t count,
                   uint8_t digest[HNT_SHA1_SIZE]);

#endif

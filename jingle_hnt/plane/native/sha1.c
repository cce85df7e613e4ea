#include "sha1.h"

#include <string.h>

enum { BLOCK = 64 };

struct sha1 {
    uint32_t state[5];
    uint64_t length; /* bytes taken so far */
    uint8_t block[BLOCK];
};

static uint32_t rotated(uint32_t word, unsigned by)
{
    return word << by | word >> (32 - by);
}

static void compress(uint32_t state[5], const uint8_t block[BLOCK])
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (unsigned t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
               (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (unsigned t = 0; t < 80; t++) {
        uint32_t mixed, constant;
        if (t < 20) {
            mixed = (b & c) | (~b & d);
            constant = 0x5a827999;
        } else if (t < 40) {
            mixed = b ^ c ^ d;
            constant = 0x6ed9eba1;
        } else if (t < 60) {
            mixed = (b & c) | (b & d) | (c & d);
            constant = 0x8f1bbcdc;
        } else {
            mixed = b ^ c ^ d;
            constant = 0xca62c1d6;
        }
        uint32_t next = rotated(a, 5) + mixed + e + w[t] + constant;
        e = d;
        d = c;
        c = rotated(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

static void begin(struct sha1 *sha1)
{
    static const uint32_t INITIAL[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    memcpy(sha1->state, INITIAL, sizeof INITIAL);
    sha1->length = 0;
}

static void take(struct sha1 *sha1, const uint8_t *data, size_t length)
{
    while (length > 0) {
        size_t filled = sha1->length % BLOCK, part = BLOCK - filled < length ? BLOCK - filled : length;
        memcpy(sha1->block + filled, data, part);
        sha1->length += part;
        data += part;
        length -= part;
        if (sha1->length % BLOCK == 0)
            compress(sha1->state, sha1->block);
    }
}

static void finish(struct sha1 *sha1, uint8_t digest[HNT_SHA1_SIZE])
{
    static const uint8_t PADDING[BLOCK] = {0x80};
    uint64_t bits = sha1->length * 8;
    uint8_t length[8];
    for (unsigned i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    size_t filled = sha1->length % BLOCK;
    take(sha1, PADDING, filled < 56 ? 56 - filled : 120 - filled);
    take(sha1, length, sizeof length);
    for (unsigned i = 0; i < HNT_SHA1_SIZE; i++)
        digest[i] = (uint8_t)(sha1->state[i / 4] >> (24 - 8 * (i % 4)));
}

/* Begin with the key, each byte of it changed by `with`. */
static void begin_keyed(struct sha1 *sha1, const uint8_t key[BLOCK], uint8_t with)
{
    uint8_t changed[BLOCK];
    for (unsigned i = 0; i < BLOCK; i++)
        changed[i] = key[i] ^ with;
    begin(sha1);
    take(sha1, changed, sizeof changed);
}

void hnt_hmac_sha1(const uint8_t *key, size_t key_length, const struct hnt_piece *pieces, size_t count,
                   uint8_t digest[HNT_SHA1_SIZE])
{
    struct sha1 sha1;
    uint8_t block[BLOCK] = {0};
    if (key_length > BLOCK) {
        begin(&sha1);
        take(&sha1, key, key_length);
        finish(&sha1, block);
    } else {
        memcpy(block, key, key_length);
    }
    begin_keyed(&sha1, block, 0x36);
    for (size_t i = 0; i < count; i++)
        take(&sha1, pieces[i].data, pieces[i].length);
    finish(&sha1, digest);
    begin_keyed(&sha1, block, 0x5c);
    take(&sha1, digest, HNT_SHA1_SIZE);
    finish(&sha1, digest);
}

/* HMAC-SHA1: libcrypto's hash, looked for once at run time, or the one in this file where there is none. */
#include "rules/sha1.h"

#include <dlfcn.h>
#include <string.h>

enum { BLOCK = 64 };

struct sha1 {
    uint32_t state[5];
    uint64_t length; /* bytes taken so far */
    uint8_t block[BLOCK];
};

/* libcrypto's SHA_CTX, the same in all its releases: of its functions these two go on from a state that was saved,
 * which EVP's cannot without a context of their own for each key. */
struct borrowed {
    uint32_t state[5];
    uint32_t bits_low, bits_high;
    uint32_t block[BLOCK / 4];
    uint32_t filled;
    uint32_t spare[8]; /* in case it grows */
};

static int (*update)(struct borrowed *, const void *, size_t);
static int (*final)(uint8_t *, struct borrowed *);
static bool is_found, is_borrowed;

static uint32_t rotated(uint32_t word, unsigned by)
{
    return word << by | word >> (32 - by);
}

/* One step of RFC 3174 section 6.1. The caller rotates the five names instead of their values. */
#define STEP(a, b, c, d, e, mixed, constant, word)                      \
    do {                                                                \
        (e) += rotated((a), 5) + (mixed) + (constant) + (word);         \
        (b) = rotated((b), 30);                                         \
    } while (0)
#define FIVE(mix, constant, t)                                          \
    do {                                                                \
        STEP(a, b, c, d, e, mix(b, c, d), constant, w[t]);              \
        STEP(e, a, b, c, d, mix(a, b, c), constant, w[(t) + 1]);        \
        STEP(d, e, a, b, c, mix(e, a, b), constant, w[(t) + 2]);        \
        STEP(c, d, e, a, b, mix(d, e, a), constant, w[(t) + 3]);        \
        STEP(b, c, d, e, a, mix(c, d, e), constant, w[(t) + 4]);        \
    } while (0)
#define CHOICE(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define PARITY(x, y, z) ((x) ^ (y) ^ (z))
#define MAJORITY(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))

static void compress(uint32_t state[5], const uint8_t block[BLOCK])
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (unsigned t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
               (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (unsigned t = 0; t < 20; t += 5)
        FIVE(CHOICE, 0x5a827999, t);
    for (unsigned t = 20; t < 40; t += 5)
        FIVE(PARITY, 0x6ed9eba1, t);
    for (unsigned t = 40; t < 60; t += 5)
        FIVE(MAJORITY, 0x8f1bbcdc, t);
    for (unsigned t = 60; t < 80; t += 5)
        FIVE(PARITY, 0xca62c1d6, t);
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
        if (part == BLOCK) { /* no need to copy it */
            compress(sha1->state, data);
            sha1->length += BLOCK;
            data += BLOCK;
            length -= BLOCK;
            continue;
        }
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

static void resume(struct borrowed *hash, const uint32_t state[5])
{
    memset(hash, 0, sizeof *hash);
    memcpy(hash->state, state, sizeof hash->state);
    hash->bits_low = BLOCK * 8;
}

static void borrowed_digest(const struct hnt_hmac *hmac, const struct hnt_piece *pieces, size_t count,
                            uint8_t digest[HNT_SHA1_SIZE])
{
    struct borrowed hash;
    resume(&hash, hmac->inner);
    for (size_t i = 0; i < count; i++)
        update(&hash, pieces[i].data, pieces[i].length);
    final(digest, &hash);
    resume(&hash, hmac->outer);
    update(&hash, digest, HNT_SHA1_SIZE);
    final(digest, &hash);
}

/* What a hash has become after the key, each byte of it changed by `with`. */
static void keyed(uint32_t state[5], const uint8_t key[BLOCK], uint8_t with)
{
    struct sha1 sha1;
    uint8_t changed[BLOCK];
    for (unsigned i = 0; i < BLOCK; i++)
        changed[i] = key[i] ^ with;
    begin(&sha1);
    compress(sha1.state, changed);
    memcpy(state, sha1.state, sizeof sha1.state);
}

static void go_on(struct sha1 *sha1, const uint32_t state[5])
{
    memcpy(sha1->state, state, sizeof sha1->state);
    sha1->length = BLOCK;
}

void hnt_hmac_prepare(const uint8_t *key, size_t key_length, struct hnt_hmac *hmac)
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
    keyed(hmac->inner, block, 0x36);
    keyed(hmac->outer, block, 0x5c);
}

static void own_digest(const struct hnt_hmac *hmac, const struct hnt_piece *pieces, size_t count,
                       uint8_t digest[HNT_SHA1_SIZE])
{
    struct sha1 sha1;
    go_on(&sha1, hmac->inner);
    for (size_t i = 0; i < count; i++)
        take(&sha1, pieces[i].data, pieces[i].length);
    finish(&sha1, digest);
    go_on(&sha1, hmac->outer);
    take(&sha1, digest, HNT_SHA1_SIZE);
    finish(&sha1, digest);
}

void hnt_hmac_digest(const struct hnt_hmac *hmac, const struct hnt_piece *pieces, size_t count,
                     uint8_t digest[HNT_SHA1_SIZE])
{
    (is_borrowed ? borrowed_digest : own_digest)(hmac, pieces, count, digest);
}

bool hnt_sha1_is_borrowed(void)
{
    return is_borrowed;
}

bool hnt_sha1_choose(bool borrowed)
{
    is_borrowed = borrowed && is_found;
    return is_borrowed;
}

/* A library that is not laid out as we think makes other tags, and is left alone. */
static bool makes_our_tags(void)
{
    uint8_t text[2 * BLOCK + 5], ours[HNT_SHA1_SIZE], theirs[HNT_SHA1_SIZE];
    struct hnt_hmac hmac;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7);
    const struct hnt_piece pieces[] = {{text, 3}, {text + 3, sizeof text - 3}};
    hnt_hmac_prepare(text, HNT_SHA1_SIZE, &hmac);
    own_digest(&hmac, pieces, 2, ours);
    borrowed_digest(&hmac, pieces, 2, theirs);
    return memcmp(ours, theirs, sizeof ours) == 0;
}

__attribute__((constructor)) static void borrow(void)
{
    static const char *const NAMES[] = {"libcrypto.so.3", "libcrypto.so.1.1"};
    void *library = NULL;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0] && library == NULL; i++)
        library = dlopen(NAMES[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return;
    /* POSIX has a void pointer hold a function's address (dlsym); ISO C has no cast for it. */
    *(void **)&update = dlsym(library, "SHA1_Update");
    *(void **)&final = dlsym(library, "SHA1_Final");
    is_found = is_borrowed = update != NULL && final != NULL && makes_our_tags();
}

void hnt_hmac_sha1(const uint8_t *key, size_t key_length, const struct hnt_piece *pieces, size_t count,
                   uint8_t digest[HNT_SHA1_SIZE])
{
    struct hnt_hmac hmac;
    hnt_hmac_prepare(key, key_length, &hmac);
    hnt_hmac_digest(&hmac, pieces, count, digest);
}

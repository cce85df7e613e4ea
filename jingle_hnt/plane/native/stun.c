#include "stun.h"

#include <string.h>

#include "sha1.h"

enum {
    HEADER = 20,
    ATTRIBUTE = 4, /* type and length */
    BINDING = 0x001,
    USERNAME = 0x0006,
    INTEGRITY = 0x0008,
    USE_CANDIDATE = 0x0025,
    FINGERPRINT = 0x8028,
};

static uint16_t read16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* The checksum of zlib and Ethernet (RFC 8489 section 14.7), bit by bit: messages are short and few. */
static uint32_t crc32_of(const uint8_t *data, size_t length)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static bool is_fingerprint(const uint8_t *data, size_t at)
{
    uint32_t crc = crc32_of(data, at) ^ 0x5354554e;
    const uint8_t *value = data + at + ATTRIBUTE;
    return value[0] == (uint8_t)(crc >> 24) && value[1] == (uint8_t)(crc >> 16) &&
           value[2] == (uint8_t)(crc >> 8) && value[3] == (uint8_t)crc;
}

static bool read_attributes(const uint8_t *data, size_t end, struct hnt_binding_message *out)
{
    size_t at = HEADER;
    while (at < end) {
        uint16_t type = read16(data + at), length = read16(data + at + 2);
        size_t after = at + ATTRIBUTE + ((size_t)length + 3) / 4 * 4;
        if (after > end)
            return false;
        if (type == FINGERPRINT) {
            if (length != 4 || after != end || !is_fingerprint(data, at))
                return false;
        } else if (out->integrity_at > 0) {
            /* what follows the integrity is to be ignored (RFC 8489 section 14.5) */
        } else if (type == INTEGRITY) {
            if (length != HNT_SHA1_SIZE)
                return false;
            out->integrity_at = (uint16_t)at;
        } else if (type == USERNAME && out->username_length == 0) {
            out->username = data + at + ATTRIBUTE;
            out->username_length = length;
        } else if (type == USE_CANDIDATE) {
            out->nominates = true;
        }
        at = after;
    }
    return true;
}

bool hnt_stun_parse(const uint8_t *data, size_t length, struct hnt_binding_message *out)
{
    memset(out, 0, sizeof *out);
    if (length < HEADER || data[0] > 3 || memcmp(data + 4, "\x21\x12\xa4\x42", 4) != 0)
        return false;
    uint16_t word = read16(data), body = read16(data + 2);
    if (body % 4 != 0 || HEADER + (size_t)body != length)
        return false;
    /* Two bits of class stand between the bits of the method (RFC 8489 section 5). */
    if (((word & 0x000f) | (word >> 1 & 0x0070) | (word >> 2 & 0x0f80)) != BINDING)
        return false;
    out->kind = (uint8_t)((word >> 7 & 2) | (word >> 4 & 1));
    out->transaction = data + 8;
    return read_attributes(data, length, out);
}

/* Takes as long for every digest: how much of a guess was right does not show. */
static bool is_same_digest(const uint8_t *a, const uint8_t *b)
{
    uint8_t differing = 0;
    for (unsigned i = 0; i < HNT_SHA1_SIZE; i++)
        differing |= a[i] ^ b[i];
    return differing == 0;
}

bool hnt_stun_is_signed(const uint8_t *data, const struct hnt_binding_message *message,
                        const uint8_t *password, size_t length)
{
    size_t at = message->integrity_at;
    if (at == 0)
        return false;
    /* The length that is signed ends with the integrity, whatever follows it. */
    size_t through = at - HEADER + ATTRIBUTE + HNT_SHA1_SIZE;
    const uint8_t through_bytes[2] = {(uint8_t)(through >> 8), (uint8_t)through};
    const struct hnt_piece pieces[] = {{data, 2}, {through_bytes, 2}, {data + 4, at - 4}};
    uint8_t digest[HNT_SHA1_SIZE];
    hnt_hmac_sha1(password, length, pieces, 3, digest);
    return is_same_digest(digest, data + at + ATTRIBUTE);
}

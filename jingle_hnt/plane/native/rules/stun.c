/* Reads and writes STUN Binding messages (RFC 8489): twin of relay/stun.py and stun_writing.py. */
#include "rules/stun.h"

#include <string.h>

#include "rules/sha1.h"

enum {
    HEADER = 20,
    ATTRIBUTE = 4, /* type and length */
    BINDING = 0x001,
    USERNAME = 0x0006,
    INTEGRITY = 0x0008,
    ERROR_CODE = 0x0009,
    XOR_MAPPED_ADDRESS = 0x0020,
    PRIORITY = 0x0024,
    USE_CANDIDATE = 0x0025,
    FINGERPRINT = 0x8028,
    ICE_CONTROLLED = 0x8029,
    ICE_CONTROLLING = 0x802a,
    REQUEST = 0x0001,
    SUCCESS = 0x0101,
    ERROR = 0x0111,
};

static const uint8_t COOKIE[4] = {0x21, 0x12, 0xa4, 0x42};
/* Of the peer-reflexive candidate that a check may make of us (RFC 8445 section 7.1.1). */
static const uint8_t OUR_PRIORITY[4] = {110, 0xff, 0xff, 0xff};

static uint16_t read16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

enum { AT_ONCE = 8 };

/* What each byte does to the checksum with so many bytes behind it. */
static uint32_t table[AT_ONCE][256];

__attribute__((constructor)) static void make_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        table[0][byte] = crc;
    }
    for (unsigned behind = 1; behind < AT_ONCE; behind++)
        for (unsigned byte = 0; byte < 256; byte++)
            table[behind][byte] = table[behind - 1][byte] >> 8 ^ table[0][table[behind - 1][byte] & 0xff];
}

/* The checksum of zlib and Ethernet (RFC 8489 section 14.7). */
static uint32_t crc32_of(const uint8_t *data, size_t length)
{
    uint32_t crc = 0xffffffff;
    for (; length >= AT_ONCE; data += AT_ONCE, length -= AT_ONCE) {
        const uint8_t first[4] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16), (uint8_t)(crc >> 24)};
        crc = 0;
        for (unsigned i = 0; i < AT_ONCE; i++)
            crc ^= table[AT_ONCE - 1 - i][data[i] ^ (i < 4 ? first[i] : 0)];
    }
    for (size_t i = 0; i < length; i++)
        crc = crc >> 8 ^ table[0][(crc ^ data[i]) & 0xff];
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
            if (length != 4 || after != end)
                return false;
            out->fingerprint_at = (uint16_t)at;
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
        } else if ((type == ICE_CONTROLLED || type == ICE_CONTROLLING) && length == 8) {
            out->role = type == ICE_CONTROLLED ? HNT_CONTROLLED : HNT_CONTROLLING;
            out->tie_breaker = 0;
            for (unsigned i = 0; i < 8; i++)
                out->tie_breaker = out->tie_breaker << 8 | data[at + ATTRIBUTE + i];
        } else if (type == ERROR_CODE && length >= 4) {
            out->error = (uint16_t)(100 * (data[at + ATTRIBUTE + 2] & 7) + data[at + ATTRIBUTE + 3]);
        }
        at = after;
    }
    return true;
}

bool hnt_stun_is_intact(const uint8_t *data, const struct hnt_binding_message *message)
{
    return message->fingerprint_at == 0 || is_fingerprint(data, message->fingerprint_at);
}

bool hnt_stun_parse(const uint8_t *data, size_t length, struct hnt_binding_message *out)
{
    return hnt_stun_read(data, length, out) && hnt_stun_is_intact(data, out);
}

bool hnt_stun_read(const uint8_t *data, size_t length, struct hnt_binding_message *out)
{
    memset(out, 0, sizeof *out);
    if (length < HEADER || data[0] > 3 || memcmp(data + 4, COOKIE, 4) != 0)
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

/* Writing */

static void write16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint8_t *attribute(uint8_t *at, uint16_t type, const uint8_t *value, size_t length)
{
    size_t padded = (length + 3) / 4 * 4;
    write16(at, type);
    write16(at + 2, length);
    memset(at + ATTRIBUTE, 0, padded);
    if (length > 0)
        memcpy(at + ATTRIBUTE, value, length);
    return at + ATTRIBUTE + padded;
}

static uint8_t *head(uint8_t *out, uint16_t word, const uint8_t *transaction)
{
    write16(out, word);
    memcpy(out + 4, COOKIE, sizeof COOKIE);
    memcpy(out + 8, transaction, HNT_TRANSACTION);
    return out + HEADER;
}

/* The integrity counts the length to its own end, the fingerprint to the end of all. */
static size_t seal(uint8_t *out, uint8_t *at, struct hnt_password password)
{
    uint8_t digest[HNT_SHA1_SIZE];
    write16(out + 2, (size_t)(at - out) - HEADER + ATTRIBUTE + HNT_SHA1_SIZE);
    const struct hnt_piece whole = {out, (size_t)(at - out)};
    hnt_hmac_sha1(password.bytes, password.length, &whole, 1, digest);
    at = attribute(at, INTEGRITY, digest, sizeof digest);
    write16(out + 2, (size_t)(at - out) - HEADER + ATTRIBUTE + 4);
    uint32_t crc = crc32_of(out, (size_t)(at - out)) ^ 0x5354554e;
    const uint8_t value[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};
    return (size_t)(attribute(at, FINGERPRINT, value, sizeof value) - out);
}

size_t hnt_stun_check(uint8_t *out, const uint8_t *transaction, const uint8_t *username, size_t username_length,
                      struct hnt_password password, bool controlling, uint64_t tie_breaker, bool nominates)
{
    uint8_t tie[8], *at = head(out, REQUEST, transaction);
    for (unsigned i = 0; i < 8; i++)
        tie[i] = (uint8_t)(tie_breaker >> (56 - 8 * i));
    at = attribute(at, USERNAME, username, username_length);
    at = attribute(at, PRIORITY, OUR_PRIORITY, sizeof OUR_PRIORITY);
    at = attribute(at, controlling ? ICE_CONTROLLING : ICE_CONTROLLED, tie, sizeof tie);
    if (nominates)
        at = attribute(at, USE_CANDIDATE, NULL, 0);
    return seal(out, at, password);
}

size_t hnt_stun_success(uint8_t *out, const uint8_t *transaction, const struct hnt_address *source,
                        struct hnt_password password)
{
    uint8_t *at = head(out, SUCCESS, transaction), value[20] = {0, source->version == 4 ? 1 : 2};
    size_t length = source->version == 4 ? 4 : 16;
    write16(value + 2, source->port ^ 0x2112);
    for (size_t i = 0; i < length; i++)
        value[4 + i] = source->ip[i] ^ out[4 + i]; /* the cookie and the transaction */
    return seal(out, attribute(at, XOR_MAPPED_ADDRESS, value, 4 + length), password);
}

size_t hnt_stun_role_conflict(uint8_t *out, const uint8_t *transaction, struct hnt_password password)
{
    const uint8_t code[4] = {0, 0, HNT_ROLE_CONFLICT / 100, HNT_ROLE_CONFLICT % 100};
    uint8_t *at = head(out, ERROR, transaction);
    return seal(out, attribute(at, ERROR_CODE, code, sizeof code), password);
}

/* Reads the first bytes of a datagram: STUN, DTLS, ZRTP, RTP or RTCP, and of which stream. Twin of
 * relay/packet.py. */
#include "rules/packet.h"

#include <string.h>

enum { RTP_HEADER = 12, RTCP_HEADER = 8, STUN_HEADER = 20, DTLS_HEADER = 13 };

static uint32_t read32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static struct hnt_header of_kind(enum hnt_kind kind)
{
    struct hnt_header header = {.kind = (uint8_t)kind};
    return header;
}

static struct hnt_header rtp_or_rtcp(const uint8_t *data, size_t length)
{
    struct hnt_header header = of_kind(HNT_OTHER);
    if (length < RTCP_HEADER)
        return header;
    if (data[1] >= 192 && data[1] <= 223) { /* RFC 5761 section 4: kept for RTCP */
        header.kind = HNT_RTCP;
        header.ssrc = read32(data + 4);
    } else if (length >= RTP_HEADER) {
        header.kind = HNT_RTP;
        header.ssrc = read32(data + 8);
        header.sequence = (uint16_t)(data[2] << 8 | data[3]);
        header.payload_type = data[1] & 0x7f;
    }
    return header;
}

struct hnt_header hnt_classify(const uint8_t *data, size_t length)
{
    if (length == 0)
        return of_kind(HNT_EMPTY);
    uint8_t first = data[0];
    if (first < 4) {
        int stun = length >= STUN_HEADER && memcmp(data + 4, "\x21\x12\xa4\x42", 4) == 0;
        return of_kind(stun ? HNT_STUN : HNT_OTHER);
    }
    if (first == 16)
        return of_kind(length >= 8 && memcmp(data + 4, "ZRTP", 4) == 0 ? HNT_ZRTP : HNT_OTHER);
    if (first >= 20 && first <= 63)
        return of_kind(length >= DTLS_HEADER ? HNT_DTLS : HNT_OTHER);
    if (first >= 128 && first <= 191)
        return rtp_or_rtcp(data, length);
    return of_kind(HNT_OTHER);
}

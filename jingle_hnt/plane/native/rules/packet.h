/* What kind of datagram arrived (RFC 7983 section 7, RFC 5761 section 4).
 *
 * The twin of jingle_hnt/relay/packet.py; a property test holds the two together. */
#ifndef HNT_PACKET_H
#define HNT_PACKET_H

#include <stddef.h>
#include <stdint.h>

enum hnt_kind {
    HNT_EMPTY = 0,
    HNT_STUN = 1,
    HNT_ZRTP = 2,
    HNT_DTLS = 3,
    HNT_RTP = 4,
    HNT_RTCP = 5,
    HNT_OTHER = 6,
};

struct hnt_header {
    uint32_t ssrc;
    uint16_t sequence;
    uint8_t kind;
    uint8_t payload_type; /* of RTP */
};

struct hnt_header hnt_classify(const uint8_t *data, size_t length);

#endif

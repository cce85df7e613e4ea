/* What the plane reads in datagrams of strangers: kinds, RTP and RTCP headers, STUN. `scripts/fuzz` runs it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rules/packet.h"
#include "rules/quality.h"
#include "rules/stun.h"

/* The input is datagrams, each behind a byte of its side and one of its length; `now` moves on by 5 ms each. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hnt_stream streams[2];
    double now = 1000.0;
    hnt_stream_init(&streams[0]);
    hnt_stream_init(&streams[1]);
    while (size >= 2) {
        unsigned side = data[0] & 1;
        size_t length = (size_t)data[1] * 2;
        data += 2, size -= 2, now += 0.005;
        if (length > size)
            length = size;
        uint8_t *datagram = malloc(length + 1); /* of its own, so that every byte read past its end is seen */
        if (datagram == NULL)
            return 0;
        datagram = length > 0 ? realloc(datagram, length) : datagram;
        memcpy(datagram, data, length);
        struct hnt_header header = hnt_classify(datagram, length);
        hnt_stream_observe(&streams[side], header, datagram, length, now, &streams[1 - side]);
        struct hnt_quality quality = hnt_stream_quality(&streams[side]);
        struct hnt_binding_message message;
        if (quality.lost < 0 || quality.packets < 0 || !(quality.jitter_ms >= 0))
            abort();
        if (header.kind == HNT_STUN && hnt_stun_parse(datagram, length, &message) &&
            message.integrity_at > 0)
            hnt_stun_is_signed(datagram, &message, (const uint8_t *)"password", 8);
        free(datagram);
        data += length, size -= length;
    }
    return 0;
}

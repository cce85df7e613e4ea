/* How well one side's stream arrives, from its RTP and RTCP headers.
 *
 * The twin of `StreamMeter` in jingle_hnt/relay/quality.py, which says what the rules are and why; a property test
 * drives both with the same packets. */
#ifndef HNT_QUALITY_H
#define HNT_QUALITY_H

#include <stdbool.h>

#include "rules/packet.h"

struct hnt_stream {
    bool begun;
    uint32_t ssrc, clock, timestamp, first_timestamp, report;
    int64_t highest, base, past; /* extended sequence numbers; packets expected of streams before */
    uint64_t window, packets, reordered, duplicates;
    double at, first_at, jitter_s, reported_at, round_trip_s;
};

/* Times are in ms; the round trip is -1 where none is known, the ssrc where nothing was heard. */
struct hnt_quality {
    int64_t ssrc, packets, lost, reordered, duplicates;
    double jitter_ms, round_trip_ms;
};

void hnt_stream_init(struct hnt_stream *stream);
void hnt_stream_observe(struct hnt_stream *stream, struct hnt_header header, const uint8_t *data, size_t length,
                        double now, const struct hnt_stream *other);
struct hnt_quality hnt_stream_quality(const struct hnt_stream *stream);

#endif

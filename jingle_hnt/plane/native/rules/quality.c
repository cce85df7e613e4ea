/* Loss, order, jitter and round trip of one side's stream (RFC 3550): twin of `StreamMeter` in relay/quality.py. */
#include "rules/quality.h"

#include <math.h>
#include <string.h>

#define MEASURE_S 0.5
#define MAX_ROUND_TRIP_S 10.0

enum { MAX_DROPOUT = 3000, MAX_MISORDER = 100, WINDOW = 64, SENDER_REPORT = 200, RECEIVER_REPORT = 201 };

static uint32_t read32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void hnt_stream_init(struct hnt_stream *stream)
{
    memset(stream, 0, sizeof *stream);
    stream->round_trip_s = -1.0;
}

/* Time */

static uint32_t clock_of(uint8_t payload_type)
{
    switch (payload_type) { /* RFC 3551 section 6 */
    case 6:
        return 16000;
    case 10:
    case 11:
        return 44100;
    case 16:
        return 11025;
    case 17:
        return 22050;
    case 14:
    case 25:
    case 26:
    case 28:
    case 31:
    case 32:
    case 33:
    case 34:
        return 90000;
    default:
        return payload_type < 96 ? 8000 : 0;
    }
}

static uint32_t nearest(double measured)
{
    static const uint32_t usual[] = {8000, 16000, 24000, 32000, 44100, 48000, 90000};
    uint32_t found = usual[0];
    for (unsigned i = 1; i < sizeof usual / sizeof usual[0]; i++)
        if (fabs(usual[i] - measured) < fabs(found - measured))
            found = usual[i];
    return found;
}

static void time_packet(struct hnt_stream *stream, uint32_t timestamp, double now)
{
    if (stream->clock == 0 && now - stream->first_at >= MEASURE_S) {
        stream->clock = nearest((double)(timestamp - stream->first_timestamp) / (now - stream->first_at));
    } else if (stream->clock != 0 && timestamp != stream->timestamp) {
        double progress = (double)(int32_t)(timestamp - stream->timestamp);
        double difference = fabs(now - stream->at - progress / stream->clock);
        stream->jitter_s += (difference - stream->jitter_s) / 16.0;
    }
    if (timestamp != stream->timestamp) {
        stream->timestamp = timestamp;
        stream->at = now;
    }
}

/* Order */

static int64_t expected(const struct hnt_stream *stream)
{
    return stream->past + (stream->begun ? stream->highest - stream->base + 1 : 0);
}

static void begin(struct hnt_stream *stream, struct hnt_header header, const uint8_t *data, double now)
{
    stream->past = expected(stream);
    stream->begun = true;
    stream->ssrc = header.ssrc;
    stream->highest = stream->base = header.sequence;
    stream->window = 1;
    stream->packets++;
    stream->clock = clock_of(data[1] & 0x7f);
    stream->timestamp = stream->first_timestamp = read32(data + 4);
    stream->at = stream->first_at = now;
    stream->jitter_s = 0.0;
}

static void late(struct hnt_stream *stream, unsigned behind)
{
    if (behind < WINDOW && stream->window >> behind & 1) {
        stream->duplicates++;
        return;
    }
    stream->reordered++;
    if (stream->highest - behind >= stream->base)
        stream->packets++;
    if (behind < WINDOW)
        stream->window |= (uint64_t)1 << behind;
}

static void order(struct hnt_stream *stream, struct hnt_header header, const uint8_t *data, double now)
{
    uint16_t ahead = (uint16_t)(header.sequence - (uint16_t)stream->highest);
    uint16_t behind = (uint16_t)-ahead;
    if (!stream->begun || header.ssrc != stream->ssrc || (ahead >= MAX_DROPOUT && behind > MAX_MISORDER)) {
        begin(stream, header, data, now);
    } else if (ahead == 0 || ahead >= MAX_DROPOUT) {
        late(stream, behind);
    } else {
        stream->highest += ahead;
        stream->window = (ahead < WINDOW ? stream->window << ahead : 0) | 1;
        stream->packets++;
        time_packet(stream, read32(data + 4), now);
    }
}

/* Reports */

static void read_block(struct hnt_stream *stream, const uint8_t *block, double now,
                       const struct hnt_stream *other)
{
    uint32_t last = read32(block + 16), delay = read32(block + 20);
    if (last == 0 || last != other->report)
        return;
    double round_trip_s = now - other->reported_at - delay / 65536.0;
    if (round_trip_s >= 0.0 && round_trip_s <= MAX_ROUND_TRIP_S)
        stream->round_trip_s = round_trip_s;
}

static void read_reports(struct hnt_stream *stream, const uint8_t *data, size_t length, double now,
                         const struct hnt_stream *other)
{
    size_t at = 0, end;
    for (; at + 8 <= length && data[at] >> 6 == 2; at = end) {
        end = at + 4 + 4 * ((size_t)data[at + 2] << 8 | data[at + 3]);
        if (end > length)
            return;
        bool sender = data[at + 1] == SENDER_REPORT;
        if (sender && end - at >= 28) {
            stream->report = read32(data + at + 10);
            stream->reported_at = now;
        }
        if (!sender && data[at + 1] != RECEIVER_REPORT)
            continue;
        size_t block = at + (sender ? 28 : 8);
        for (unsigned left = data[at] & 0x1f; left > 0 && block + 24 <= end; left--, block += 24)
            read_block(stream, data + block, now, other);
    }
}

void hnt_stream_observe(struct hnt_stream *stream, struct hnt_header header, const uint8_t *data, size_t length,
                        double now, const struct hnt_stream *other)
{
    if (header.kind == HNT_RTP)
        order(stream, header, data, now);
    else if (header.kind == HNT_RTCP)
        read_reports(stream, data, length, now, other);
}

struct hnt_quality hnt_stream_quality(const struct hnt_stream *stream)
{
    int64_t lost = expected(stream) - (int64_t)stream->packets;
    struct hnt_quality quality = {
        .ssrc = stream->begun ? (int64_t)stream->ssrc : -1,
        .packets = (int64_t)stream->packets,
        .lost = lost > 0 ? lost : 0,
        .reordered = (int64_t)stream->reordered,
        .duplicates = (int64_t)stream->duplicates,
        .jitter_ms = stream->jitter_s * 1000.0,
        .round_trip_ms = stream->round_trip_s < 0 ? -1.0 : stream->round_trip_s * 1000.0,
    };
    return quality;
}

/* What is known of the source that a latch has learned, and counting a streak: twins of relay/owner.py and
 * streak.py. */
#include "rules/owner.h"

#include <string.h>

void hnt_owner_shake(struct hnt_owner *owner, struct hnt_header header)
{
    owner->taught = header;
    owner->handshakes |= header.kind == HNT_DTLS || header.kind == HNT_ZRTP;
}

void hnt_owner_init(struct hnt_owner *owner, const struct hnt_address *source, struct hnt_header header, double now)
{
    memset(owner, 0, sizeof *owner);
    owner->source = *source;
    hnt_owner_shake(owner, header);
    owner->spoke_at = now;
    owner->packets = 1;
}

struct hnt_own_stream *hnt_owner_stream(struct hnt_owner *owner, uint32_t ssrc)
{
    for (unsigned i = 0; i < owner->streams; i++)
        if (owner->stream[i].ssrc == ssrc)
            return &owner->stream[i];
    return NULL;
}

const struct hnt_own_stream *hnt_owner_latest(const struct hnt_owner *owner)
{
    const struct hnt_own_stream *latest = NULL;
    for (unsigned i = 0; i < owner->streams; i++)
        if (latest == NULL || owner->stream[i].last_at > latest->last_at)
            latest = &owner->stream[i];
    return latest;
}

bool hnt_stream_carried_on(const struct hnt_own_stream *stream, struct hnt_header header, uint16_t within)
{
    uint16_t ahead = (uint16_t)(header.sequence - stream->top);
    return header.ssrc == stream->ssrc &&
           (stream->old || header.kind != HNT_RTP || (ahead > 0 && ahead <= within));
}

bool hnt_owner_carried_on(const struct hnt_owner *owner, struct hnt_header header, uint16_t within)
{
    for (unsigned i = 0; i < owner->streams; i++)
        if (hnt_stream_carried_on(&owner->stream[i], header, within))
            return true;
    return false;
}

static void remove_stream(struct hnt_owner *owner, unsigned place)
{
    owner->streams--;
    memmove(owner->stream + place, owner->stream + place + 1, (owner->streams - place) * sizeof *owner->stream);
}

/* The one that was heard longest ago makes room, never the first. */
static void begin_stream(struct hnt_owner *owner, struct hnt_header header, double now)
{
    if (owner->streams == HNT_OWN_STREAMS) {
        unsigned oldest = 1;
        for (unsigned i = 2; i < HNT_OWN_STREAMS; i++)
            if (owner->stream[i].last_at < owner->stream[oldest].last_at)
                oldest = i;
        remove_stream(owner, oldest);
    }
    owner->stream[owner->streams++] =
        (struct hnt_own_stream){.last_at = now, .ssrc = header.ssrc, .top = header.sequence};
}

/* A late packet does not turn the stream back. */
static void hear_stream(struct hnt_own_stream *stream, struct hnt_header header, double now)
{
    stream->last_at = now;
    if (stream->old || (uint16_t)(header.sequence - stream->top) < 65536 - HNT_STREAK_WINDOW)
        stream->top = header.sequence;
    stream->old = false;
}

bool hnt_owner_speak(struct hnt_owner *owner, struct hnt_header header, double now, bool one)
{
    struct hnt_own_stream *stream = hnt_owner_stream(owner, header.ssrc);
    double pause = now - owner->spoke_at;
    if (stream == NULL)
        begin_stream(owner, header, now);
    else
        hear_stream(stream, header, now);
    if (pause <= HNT_PAUSE_S)
        owner->spoken_s += pause;
    owner->spoke_at = now;
    unsigned place = owner->streams;
    if (one && stream != NULL)
        place = (unsigned)(stream - owner->stream) + 1;
    bool ends = place < owner->streams;
    owner->streams = (uint8_t)place;
    return ends;
}

void hnt_streak_begin(struct hnt_streak *streak, struct hnt_header header, double now)
{
    streak->header = header;
    streak->last_at = now;
    streak->seen = 1;
}

void hnt_streak_hear(struct hnt_streak *streak, struct hnt_header header, double now)
{
    double pause = now - streak->last_at;
    streak->last_at = now;
    if (header.kind != HNT_RTP) {
        streak->seen = streak->seen << 1 | 1;
        return;
    }
    uint16_t ahead = (uint16_t)(header.sequence - streak->header.sequence), behind = (uint16_t)-ahead;
    if (pause > HNT_STREAK_GAP_S || (ahead >= HNT_STREAK_WINDOW && ahead <= 65536 - HNT_STREAK_WINDOW)) {
        streak->header = header;
        streak->seen = 1;
    } else if (ahead < HNT_STREAK_WINDOW) {
        streak->header = header;
        streak->seen = streak->seen << ahead | 1;
    } else {
        streak->seen |= (uint64_t)1 << behind;
    }
}

unsigned hnt_streak_length(const struct hnt_streak *streak)
{
    return (unsigned)__builtin_popcountll(streak->seen);
}

bool hnt_continues(struct hnt_header before, struct hnt_header after)
{
    if (before.kind != after.kind || before.ssrc != after.ssrc)
        return false;
    uint16_t ahead = (uint16_t)(after.sequence - before.sequence);
    return after.kind != HNT_RTP || (ahead > 0 && ahead <= HNT_MAX_DROPOUT);
}

/* The source that a latch has learned, and how far the packets of one SSRC go on.
 *
 * The twin of jingle_hnt/relay/owner.py and streak.py. */
#ifndef HNT_OWNER_H
#define HNT_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "rules/packet.h"

#define HNT_PAUSE_S 0.3
#define HNT_TENURE_S 2.0
#define HNT_STREAK_GAP_S 2.0
enum { HNT_OWN_STREAMS = 8, HNT_STREAK_WINDOW = 64, HNT_MAX_DROPOUT = 3000, HNT_RETURN_DROPOUT = 33000 };

/* A transport address; an IPv4 address is in the first four bytes, the others are zero. */
struct hnt_address {
    uint8_t ip[16];
    uint16_t port;
    uint8_t version;
};

/* One SSRC of the learned source; `top` is its greatest sequence number. */
struct hnt_own_stream {
    double last_at;
    uint32_t ssrc;
    uint16_t top;
    bool old; /* an earlier life has told `top`: any number may come next */
};

struct hnt_owner {
    struct hnt_address source;
    struct hnt_header taught; /* the packet, other than media, that it was last heard by */
    double spoke_at, spoken_s;
    uint32_t packets;
    uint8_t streams;
    bool handshakes; /* DTLS or ZRTP was heard of it */
    bool presses; /* key presses of an SSRC of their own were heard: `events` */
    struct hnt_own_stream events;
    bool by_silence; /* it took the place of one that had fallen silent, without its stream */
    struct hnt_own_stream stream[HNT_OWN_STREAMS];
};

struct hnt_streak {
    struct hnt_header header;
    double last_at;
    uint64_t seen;
};

void hnt_owner_init(struct hnt_owner *owner, const struct hnt_address *source, struct hnt_header header, double now);
struct hnt_own_stream *hnt_owner_stream(struct hnt_owner *owner, uint32_t ssrc);
/* The one that was heard last; NULL where none was. */
const struct hnt_own_stream *hnt_owner_latest(const struct hnt_owner *owner);
bool hnt_stream_carried_on(const struct hnt_own_stream *stream, struct hnt_header header, uint16_t within);
bool hnt_owner_carried_on(const struct hnt_owner *owner, struct hnt_header header, uint16_t within);
/* Hear media of a stream, which begins with this packet where it is new; where `one` is all that the source sends,
 * an elder stream ends those after it; tells whether there were any. */
bool hnt_owner_speak(struct hnt_owner *owner, struct hnt_header header, double now, bool one);

/* Hear what is no media. */
void hnt_owner_shake(struct hnt_owner *owner, struct hnt_header header);

void hnt_streak_begin(struct hnt_streak *streak, struct hnt_header header, double now);
void hnt_streak_hear(struct hnt_streak *streak, struct hnt_header header, double now);
unsigned hnt_streak_length(const struct hnt_streak *streak);
/* Whether `after` carries on the stream of `before`: same kind, same SSRC, sequence going on. */
bool hnt_continues(struct hnt_header before, struct hnt_header after);

#endif

/* Sources that have barred themselves by sending to ports that nobody was told of.
 *
 * The twin of jingle_hnt/relay/barring.py, which says what the rules are and why; a property test drives both with
 * the same packets. Workers share one set: each call takes its lock. */
#ifndef HNT_BARS_H
#define HNT_BARS_H

#include <pthread.h>
#include <stdatomic.h>

#include "rules/latch.h"

enum { HNT_BARS = 256, HNT_SUSPECT_PACKETS = 3, HNT_BARS_LISTED = 48 };

struct hnt_suspect {
    struct hnt_network network;
    unsigned packets;
    double since, heard_at, until; /* until: 0 before it was barred */
};

struct hnt_bars {
    pthread_mutex_t lock;
    unsigned suspects;
    atomic_uint version; /* changes with each source that is barred */
    struct hnt_suspect suspect[HNT_BARS]; /* in order of arrival */
};

void hnt_bars_init(struct hnt_bars *bars);
void hnt_bars_clear(struct hnt_bars *bars);
/* A packet came to a port that nobody was told of; whether that bars its source. */
bool hnt_bars_note(struct hnt_bars *bars, const struct hnt_address *source, double now);
bool hnt_bars_has(struct hnt_bars *bars, const struct hnt_address *source, double now);
/* Those of this version that were heard last, for a filter of the kernel; returns how many. */
unsigned hnt_bars_list(struct hnt_bars *bars, uint8_t version, double now, struct hnt_network out[HNT_BARS_LISTED]);

#endif

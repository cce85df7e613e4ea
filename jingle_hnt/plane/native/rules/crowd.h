/* Who sends too much to a door where a signature is expected: a counting filter of sources, by address and port.
 *
 * Few sources are told apart from everybody else: a party is let in beside them. Of more than some hundred every
 * place is full, and all are turned away alike. No system calls here, and no time. */
#ifndef HNT_CROWD_H
#define HNT_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "rules/latch.h"

enum {
    HNT_CROWD_HASHES = 2,
    HNT_CROWD_PLACES = 256, /* of each hash */
    HNT_CROWD_WORDS = HNT_CROWD_PLACES / 32,
    HNT_CROWDED = 8, /* packets to one place that are too many */
};

/* Sources whose place is full by each hash. The hash multiplies by an odd number and keeps the highest byte. */
struct hnt_crowded {
    uint32_t factor[HNT_CROWD_HASHES];
    uint32_t full[HNT_CROWD_HASHES][HNT_CROWD_WORDS];
};

/* Counts by the factors in use, and by those that follow: two sources share a place for a turn only. */
struct hnt_crowd {
    struct hnt_crowded known;
    uint32_t next[HNT_CROWD_HASHES];
    uint16_t count[2][HNT_CROWD_HASHES][HNT_CROWD_PLACES];
};

void hnt_crowd_init(struct hnt_crowd *crowd, const uint32_t factor[HNT_CROWD_HASHES]);
bool hnt_crowd_has(const struct hnt_crowded *crowded, const struct hnt_address *source);
/* Count a packet; one of a source that is known to crowd stands for `one_in`. */
void hnt_crowd_note(struct hnt_crowd *crowd, const struct hnt_address *source, unsigned one_in);
/* Who crowds by the counts until now is known from here on, beside those before. */
void hnt_crowd_mark(struct hnt_crowd *crowd);
/* Only they are known from here on; count anew, and have these factors after the next turn. */
void hnt_crowd_turn(struct hnt_crowd *crowd, const uint32_t factor[HNT_CROWD_HASHES]);

#endif

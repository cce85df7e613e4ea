/* The counting filter of sources that send too much: noting one, and turning the filter once a second. */
#include "rules/crowd.h"

#include <string.h>

static void take_factors(uint32_t out[HNT_CROWD_HASHES], const uint32_t factor[HNT_CROWD_HASHES])
{
    for (unsigned hash = 0; hash < HNT_CROWD_HASHES; hash++)
        out[hash] = factor[hash] | 1;
}

/* The kernel's filter computes the same (pinhole.c). */
static unsigned place_of(const struct hnt_address *source, uint32_t factor)
{
    unsigned octets = source->version == 4 ? 4 : 16;
    uint32_t hash = 0;
    for (unsigned i = 0; i < octets; i += 4) {
        const uint8_t *at = source->ip + i;
        uint32_t word = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        hash = (hash + word) * factor;
    }
    return ((hash + source->port) * factor) >> 24;
}

void hnt_crowd_init(struct hnt_crowd *crowd, const uint32_t factor[HNT_CROWD_HASHES])
{
    memset(crowd, 0, sizeof *crowd);
    take_factors(crowd->known.factor, factor);
    for (unsigned hash = 0; hash < HNT_CROWD_HASHES; hash++)
        crowd->next[hash] = crowd->known.factor[hash] * 2654435769u | 1;
}

bool hnt_crowd_has(const struct hnt_crowded *crowded, const struct hnt_address *source)
{
    for (unsigned hash = 0; hash < HNT_CROWD_HASHES; hash++) {
        unsigned place = place_of(source, crowded->factor[hash]);
        if ((crowded->full[hash][place / 32] >> place % 32 & 1) == 0)
            return false;
    }
    return true;
}

static void add(uint16_t *count, unsigned packets)
{
    *count = (uint16_t)(packets > (unsigned)(UINT16_MAX - *count) ? UINT16_MAX : *count + packets);
}

void hnt_crowd_note(struct hnt_crowd *crowd, const struct hnt_address *source, unsigned one_in)
{
    unsigned packets = hnt_crowd_has(&crowd->known, source) ? one_in : 1;
    for (unsigned hash = 0; hash < HNT_CROWD_HASHES; hash++) {
        add(&crowd->count[0][hash][place_of(source, crowd->known.factor[hash])], packets);
        add(&crowd->count[1][hash][place_of(source, crowd->next[hash])], packets);
    }
}

void hnt_crowd_mark(struct hnt_crowd *crowd)
{
    for (unsigned hash = 0; hash < HNT_CROWD_HASHES; hash++)
        for (unsigned place = 0; place < HNT_CROWD_PLACES; place++)
            if (crowd->count[0][hash][place] > HNT_CROWDED)
                crowd->known.full[hash][place / 32] |= (uint32_t)1 << place % 32;
}

void hnt_crowd_turn(struct hnt_crowd *crowd, const uint32_t factor[HNT_CROWD_HASHES])
{
    memcpy(crowd->known.factor, crowd->next, sizeof crowd->next);
    memcpy(crowd->count[0], crowd->count[1], sizeof crowd->count[0]);
    take_factors(crowd->next, factor);
    memset(crowd->known.full, 0, sizeof crowd->known.full);
    hnt_crowd_mark(crowd);
    memset(crowd->count, 0, sizeof crowd->count);
}

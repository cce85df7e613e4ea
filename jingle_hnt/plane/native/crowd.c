#include "crowd.h"

static struct hnt_loud *find(struct hnt_loud *among, unsigned count, const struct hnt_address *source)
{
    for (unsigned i = 0; i < count; i++)
        if (hnt_same_address(&among[i].source, source))
            return &among[i];
    return NULL;
}

static void drop(struct hnt_loud *among, unsigned *count, unsigned place)
{
    among[place] = among[--*count];
}

/* A source that finds all places taken takes a packet from each: only who has more than a ninth of them stays. */
static void hear_fresh(struct hnt_crowd *crowd, const struct hnt_address *source)
{
    struct hnt_loud *known = find(crowd->fresh, crowd->heard, source);
    if (known != NULL) {
        known->packets++;
    } else if (crowd->heard < HNT_LOUD) {
        crowd->fresh[crowd->heard++] = (struct hnt_loud){*source, 1};
    } else {
        for (unsigned i = crowd->heard; i-- > 0;)
            if (--crowd->fresh[i].packets == 0)
                drop(crowd->fresh, &crowd->heard, i);
    }
}

bool hnt_crowd_hear(struct hnt_crowd *crowd, const struct hnt_address *source)
{
    struct hnt_loud *known = find(crowd->loud, crowd->named, source);
    if (known == NULL) {
        hear_fresh(crowd, source);
        return false;
    }
    known->packets++;
    return true;
}

unsigned hnt_crowd_name(struct hnt_crowd *crowd)
{
    unsigned packets = 0;
    for (unsigned i = crowd->named; i-- > 0;)
        if (crowd->loud[i].packets == 0)
            drop(crowd->loud, &crowd->named, i);
    for (unsigned i = 0; i < crowd->heard && crowd->named < HNT_LOUD; i++) {
        if (crowd->fresh[i].packets < HNT_LOUD_PACKETS)
            continue;
        packets += crowd->fresh[i].packets;
        crowd->loud[crowd->named++] = crowd->fresh[i];
    }
    for (unsigned i = 0; i < crowd->named; i++)
        crowd->loud[i].packets = 0;
    crowd->heard = 0;
    return packets;
}

void hnt_crowd_spare(struct hnt_crowd *crowd, const struct hnt_address *source)
{
    struct hnt_loud *known = find(crowd->loud, crowd->named, source);
    if (known != NULL)
        drop(crowd->loud, &crowd->named, (unsigned)(known - crowd->loud));
}

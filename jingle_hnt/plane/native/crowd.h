/* Who among strangers is loud: so few sources of a crowd that each can be named to the kernel.
 *
 * A crowd at a door where a signature is expected is mostly one sender, or a few. Those are turned away by address and
 * port, so that a party of whom nothing is known yet is heard beside them. Pure: no clock, no socket. */
#ifndef HNT_CROWD_H
#define HNT_CROWD_H

#include <stdbool.h>

#include "latch.h"

enum {
    HNT_LOUD = 8,          /* sources that are named at a time */
    HNT_LOUD_PACKETS = 64, /* from this many that fail on, between two settings of the guard */
};

struct hnt_loud {
    struct hnt_address source;
    unsigned packets;
};

/* Zeroed, nobody is known. */
struct hnt_crowd {
    unsigned named, heard;
    struct hnt_loud loud[HNT_LOUD];  /* named to the kernel; packets are those that it let in */
    struct hnt_loud fresh[HNT_LOUD]; /* the most frequent of all others (Misra and Gries) */
};

/* One more packet of a stranger; whether its source was named before. */
bool hnt_crowd_hear(struct hnt_crowd *crowd, const struct hnt_address *source);

/* Name those that were loud of late, and forget those that are silent: how many packets came from those who were not
 * named before. All counts begin anew. */
unsigned hnt_crowd_name(struct hnt_crowd *crowd);

/* Do not name this one: it is, or may be, the party. */
void hnt_crowd_spare(struct hnt_crowd *crowd, const struct hnt_address *source);

#endif

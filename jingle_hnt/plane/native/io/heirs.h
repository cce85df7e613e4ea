/* Sockets that an earlier life of the plane has left: somebody held them meanwhile, so the kernel went on
 * filtering and queueing what came. A binding of the same address takes them up. */
#ifndef HNT_HEIRS_H
#define HNT_HEIRS_H

#include <pthread.h>

#include "rules/latch.h"

enum { HNT_HEIR_BUCKETS = 256 };

struct hnt_heirs {
    pthread_mutex_t lock;
    struct hnt_heir *bucket[HNT_HEIR_BUCKETS]; /* by the port's last byte */
};

/* Takes over the descriptor; one that is no UDP socket of ours is closed. */
void hnt_heirs_add(struct hnt_heirs *heirs, int socket);

/* The door of this address with nothing in its queue, or -1. It is the caller's from now on. */
int hnt_heirs_door(struct hnt_heirs *heirs, const struct hnt_address *bound);

/* The line from this address to this peer (NULL for none), or -1; other lines of the address are retired. */
int hnt_heirs_line(struct hnt_heirs *heirs, const struct hnt_address *bound, const struct hnt_address *peer);

/* Close those that nobody wanted; `left` where another life is not to have them either. */
void hnt_heirs_clear(struct hnt_heirs *heirs, bool left);

#endif

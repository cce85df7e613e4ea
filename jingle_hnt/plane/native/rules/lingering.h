/* How long a released port is kept from the next call; the twin of relay/lingering.py. Times are seconds of the
 * monotonic clock. */
#ifndef HNT_LINGERING_H
#define HNT_LINGERING_H

#include <stdbool.h>

/* Since when, at its release `now`, a port has been idle; `heard` tells whether anybody was at `heard_at`. */
double hnt_idle_since(bool heard, double heard_at, double now, double linger_s);

/* Whether a released port is free now, at which something came last at `busy_at`; after `cap_s` it always is. */
bool hnt_is_free(double busy_at, double released_at, double linger_s, double cap_s, double now);

#endif

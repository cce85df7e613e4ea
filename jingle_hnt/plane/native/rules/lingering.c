/* When a released port is free for the next call: twin of relay/lingering.py. */
#include "rules/lingering.h"

#define WATCH_S 4.0

double hnt_idle_since(bool heard, double heard_at, double now, double linger_s)
{
    double watch_s = linger_s < WATCH_S ? linger_s : WATCH_S, earliest = now - linger_s + watch_s;
    if (!heard)
        return now;
    return heard_at > earliest ? heard_at : earliest;
}

bool hnt_is_free(double busy_at, double released_at, double linger_s, double cap_s, double now)
{
    return now - busy_at >= linger_s || now - released_at >= cap_s;
}

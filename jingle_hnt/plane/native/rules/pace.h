/* How often something may be done: the twin of jingle_hnt/relay/pace.py. */
#ifndef HNT_PACE_H
#define HNT_PACE_H

#include <stdbool.h>

/* Zeroed, all is allowed. */
struct hnt_pace {
    double spent, at;
};

static inline bool hnt_pace_allows(struct hnt_pace *pace, double per_s, double burst, double now)
{
    double left = pace->spent - per_s * (now - pace->at);
    pace->spent = left > 0.0 ? left : 0.0;
    pace->at = now;
    return pace->spent + 1.0 <= burst;
}

static inline void hnt_pace_spend(struct hnt_pace *pace)
{
    pace->spent += 1.0;
}

#endif

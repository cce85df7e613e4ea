/* How much one side may send through the relay. The twin of jingle_hnt/relay/policing.py. */
#ifndef HNT_POLICING_H
#define HNT_POLICING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of each side of each binding; the first three are 0 for no limit, and for unmarked packets. */
struct hnt_limits {
    uint32_t max_kbps, max_pps;
    uint8_t dscp;
    double linger_cap_s; /* longest time that a released port is kept from the next call */
};

/* All zeros is a full bucket. */
struct hnt_bucket {
    double packets, bytes, at;
    bool used;
};

bool hnt_bucket_admits(struct hnt_bucket *bucket, const struct hnt_limits *limits, size_t length, double now);

#endif

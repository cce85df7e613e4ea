/* The token buckets of one side, for packets and for bits: twin of relay/policing.py. */
#include "rules/policing.h"

static double refill(double level, double per_s, double elapsed_s)
{
    level += elapsed_s * per_s;
    return level < per_s ? level : per_s;
}

bool hnt_bucket_admits(struct hnt_bucket *bucket, const struct hnt_limits *limits, size_t length, double now)
{
    double elapsed_s = bucket->used && now - bucket->at < 1.0 ? now - bucket->at : 1.0;
    bucket->used = true;
    bucket->at = now;
    bucket->packets = refill(bucket->packets, limits->max_pps, elapsed_s);
    bucket->bytes = refill(bucket->bytes, limits->max_kbps * 125.0, elapsed_s);
    if ((limits->max_pps > 0 && bucket->packets < 1) || (limits->max_kbps > 0 && bucket->bytes < (double)length))
        return false;
    bucket->packets -= 1;
    bucket->bytes -= (double)length;
    return true;
}

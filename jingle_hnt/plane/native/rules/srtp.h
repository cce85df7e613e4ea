/* The latch of a pinhole whose party signalled SDES keys: only SRTP tags teach it.
 *
 * The twin of jingle_hnt/relay/srtp_latch.py and relay/srtp.py, which say what the rules are and why; a
 * property test drives both with the same packets. */
#ifndef HNT_SRTP_H
#define HNT_SRTP_H

#include "rules/latch.h"
#include "rules/pace.h"
#include "rules/sha1.h"

#define HNT_FAILURES_PER_S 500.0
#define HNT_FAILURES_AT_ONCE 500.0

enum {
    HNT_TAG_KEY = 20,
    HNT_STREAMS = 8,
    HNT_ROLLOVERS = 16,
    HNT_RESUMED_ROLLOVERS = 64,
    HNT_MOST_ROLLOVERS = 4096,
    HNT_RTCP_TAG = 10,
    HNT_WINDOW = 1024, /* a power of two */
    HNT_MISFITS = 3,
};

struct hnt_tag {
    uint8_t rtp[HNT_TAG_KEY], rtcp[HNT_TAG_KEY];
    uint16_t mki_bytes;
    uint8_t tag_bytes;
    struct hnt_hmac rtp_hmac, rtcp_hmac; /* of these keys */
};

/* The greatest index of a stream: of RTP 48 bits, of RTCP 31. */
struct hnt_numbered {
    uint64_t index;
    uint32_t ssrc;
    uint32_t tried; /* rollover counters that did not fit */
    uint8_t kind;
    bool sure; /* a tag has shown its rollover counter */
    bool renewed; /* the sender has lost its state: the next packet's index is the new one */
    uint8_t misfits, anew_packets;
    uint64_t first, anew; /* the least index heard, and the last lesser one that may be a new one */
    double fitted_at;
    uint64_t heard[HNT_WINDOW / 64]; /* a bit for each index of the window, by the index */
};

/* What a latch knows of a party, beside its evidence. */
struct hnt_srtp {
    struct hnt_numbered stream[HNT_STREAMS]; /* in order of arrival */
    unsigned streams;
    struct hnt_tag key; /* which the learned source has shown */
    bool keyed, resumed, armed_anew;
    struct hnt_pace failures[2]; /* of new streams, of known ones */
};

/* Arm a latch with evidence that has tags. False: the generation is not greater, or no memory. */
bool hnt_srtp_arm(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence);
void hnt_srtp_resume(struct hnt_latch *latch, const struct hnt_address *source, double now);
enum hnt_verdict hnt_srtp_observe(struct hnt_latch *latch, const struct hnt_address *source,
                                  struct hnt_header header, const uint8_t *data, size_t length, double now);

#endif

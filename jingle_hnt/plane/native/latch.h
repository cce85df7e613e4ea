/* The latch of one pinhole: shut, armed, latched.
 *
 * The twin of jingle_hnt/relay/latch.py, which says what the rules are and why; a property test drives
 * both with the same packets. No system calls here: time is an argument, in monotonic seconds. */
#ifndef HNT_LATCH_H
#define HNT_LATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "packet.h"

#define HNT_SILENCE_S 1.0
#define HNT_RIVALRY_S 1.0
enum { HNT_PROBATION = 5, HNT_MAX_DROPOUT = 3000, HNT_CONTENDERS = 4 };

/* A transport address; an IPv4 address is in the first four bytes, the others are zero. */
struct hnt_address {
    uint8_t ip[16];
    uint16_t port;
    uint8_t version;
};

struct hnt_network {
    uint8_t ip[16];
    uint8_t version;
    uint8_t prefix;
};

struct hnt_key;
struct hnt_tag;
struct hnt_ice;
struct hnt_srtp;

/* Networks a source must be in, followed by those it must not be in and by those of the first that need no
 * probation; then the keys of an ICE agent's checks,
 * newest first, or those of a party's SRTP tags, in the same piece of memory. */
struct hnt_evidence {
    uint16_t sources;
    uint16_t refused;
    uint16_t likely;
    uint8_t probation, keys, tags;
    bool several; /* RTP streams of one source */
    struct hnt_key *key;
    struct hnt_tag *tag;
    struct hnt_network networks[];
};

enum hnt_state { HNT_SHUT = 0, HNT_ARMED = 1, HNT_LATCHED = 2 };

enum hnt_verdict {
    HNT_PASS = 0,
    HNT_LATCHED_NOW = 1,
    HNT_RELATCHED = 2,
    HNT_ON_PROBATION = 3,
    HNT_NOT_ARMED = 4,
    HNT_STRANGER = 5,
    HNT_UNFIT = 6,
    HNT_RIVAL = 7,
};

struct hnt_contender {
    struct hnt_address source;
    struct hnt_header header;
    uint32_t streak;
    double last_at;
};

struct hnt_latch {
    struct hnt_evidence *evidence; /* owned; NULL while shut */
    struct hnt_address source;     /* meant only while latched */
    struct hnt_header stream;
    struct hnt_ice *ice;           /* owned; NULL unless keys are the evidence (ice.h) */
    struct hnt_srtp *srtp;         /* owned; NULL unless tags are the evidence (srtp.h) */
    double latched_at, heard_at, streamed_at;
    uint32_t first_ssrc;
    int32_t generation;
    uint8_t state, contenders;
    bool has_first;
    struct hnt_contender successor; /* of the stream; its streak is 0 while there is none */
    struct hnt_contender contender[HNT_CONTENDERS];
};

void hnt_latch_init(struct hnt_latch *latch);
void hnt_latch_clear(struct hnt_latch *latch);

/* Takes over `evidence`, which has no keys and no tags, where it returns true. False: the generation is not greater. */
bool hnt_latch_arm(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence);
void hnt_latch_resume(struct hnt_latch *latch, const struct hnt_address *source, double now);
enum hnt_verdict hnt_latch_observe(struct hnt_latch *latch, const struct hnt_address *source,
                                   struct hnt_header header, double now);

/* A packet that the kernel has matched to the learned source already. */
enum hnt_verdict hnt_latch_heard(struct hnt_latch *latch, struct hnt_header header, double now);

bool hnt_evidence_admits(const struct hnt_evidence *evidence, const struct hnt_address *source);
bool hnt_evidence_is_likely(const struct hnt_evidence *evidence, const struct hnt_address *source);
/* How many packets in sequence a source has to send. */
unsigned hnt_evidence_needs(const struct hnt_evidence *evidence, const struct hnt_address *source);
bool hnt_same_address(const struct hnt_address *a, const struct hnt_address *b);
bool hnt_same_ip(const struct hnt_address *a, const struct hnt_address *b);

#endif

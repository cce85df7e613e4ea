/* The latch of one pinhole: shut, armed, latched.
 *
 * The twin of jingle_hnt/relay/latch.py, which says what the rules are and why; a property test drives
 * both with the same packets. No system calls here: time is an argument, in monotonic seconds. */
#ifndef HNT_LATCH_H
#define HNT_LATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "rules/owner.h"
#include "rules/records.h"

#define HNT_SILENCE_S 1.0
#define HNT_RIVALRY_S 1.0
#define HNT_END_S 30.0
#define HNT_LAPSE_S 3.0
enum { HNT_PROBATION = 5, HNT_CONTENDERS = 16, HNT_PAST = 2, HNT_MOST_KNOWN = HNT_OWN_STREAMS * (1 + HNT_PAST) };

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
    bool reports; /* the port is for RTCP alone */
    uint64_t events[2]; /* a bit for each payload type that tells of key presses */
    double lapse_s; /* of silence, after which another source may follow without the stream */
    struct hnt_key *key;
    struct hnt_tag *tag;
    struct hnt_network networks[];
};


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

/* A streak of one source. */
struct hnt_contender {
    struct hnt_address source;
    struct hnt_streak streak;
    double first_at;
    bool rival;       /* of the former generation's owner */
    bool interleaved; /* with the owner's own stream, in its name */
};

/* What is known of others than the owner: competing streaks, and owners that were displaced. */
struct hnt_others {
    unsigned contenders, past;
    struct hnt_contender contender[HNT_CONTENDERS];
    struct hnt_owner displaced[HNT_PAST];
};

struct hnt_latch {
    struct hnt_evidence *evidence; /* owned; NULL while shut */
    struct hnt_address source;     /* meant only while latched */
    struct hnt_ice *ice;           /* owned; NULL unless keys are the evidence (ice.h) */
    struct hnt_srtp *srtp;         /* owned; NULL unless tags are the evidence (srtp.h) */
    double latched_at, heard_at;
    int32_t generation;
    uint8_t state;
    /* Of clear media only: */
    bool expects_nothing; /* on hold: the owner's silence means nothing */
    bool resumed;         /* without its stream */
    bool has_former, former_was_sure; /* the last generation's owner, who is others->displaced[0] then */
    bool former_spoke, former_shook;  /* media, and DTLS or ZRTP */
    double waits_since;   /* NAN until the first packet since it was armed, or media was expected again */
    struct hnt_address former; /* meant only where there is one */
    double disturbed_at;
    struct hnt_owner owner;    /* meant only while latched; its source is `source` */
    struct hnt_others *others; /* owned; NULL until there are some */
};

/* Whether the owner's silence means anything: not while the call is on hold. */
void hnt_latch_expect(struct hnt_latch *latch, bool media);

void hnt_latch_init(struct hnt_latch *latch);
void hnt_latch_clear(struct hnt_latch *latch);

/* Takes over `evidence`, which has no keys and no tags, where it returns true. False: the generation is not greater. */
bool hnt_latch_arm(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence);
/* `stream` is what hnt_latch_stream told in an earlier life, NULL where that is not known. */
void hnt_latch_resume(struct hnt_latch *latch, const struct hnt_address *source, const struct hnt_header *stream,
                      double now);
/* What the owner sent last; false where none is known. */
bool hnt_latch_stream(const struct hnt_latch *latch, struct hnt_header *out);
/* The same where it is another than that of this SSRC (NULL: none was told), which has ended. */
bool hnt_latch_stream_news(struct hnt_latch *latch, const uint32_t *told, double now, struct hnt_header *out);
/* Whether a packet of the owner is of its key presses, not of its media. */
bool hnt_latch_is_aside(const struct hnt_latch *latch, struct hnt_header header);
enum hnt_verdict hnt_latch_observe(struct hnt_latch *latch, const struct hnt_address *source,
                                   struct hnt_header header, double now);

/* Whether nothing but its packets spoke for the owner: then another address takes no place. */
bool hnt_latch_is_held_to_its_host(const struct hnt_latch *latch);
/* Whether one that sends nothing of the streams that are known may take the owner's place by now: all of what
 * others send has to be heard then. */
bool hnt_latch_may_yield(const struct hnt_latch *latch, double now);
/* SSRCs by which others may take the owner's place; returns how many. */
unsigned hnt_latch_known_ssrcs(const struct hnt_latch *latch, uint32_t out[HNT_MOST_KNOWN]);
/* Whether the owner was silent for so long that anybody whom the evidence admits may take its place. */
bool hnt_latch_has_ended(const struct hnt_latch *latch, double now);

/* A packet that the kernel has matched to the learned source already. */
enum hnt_verdict hnt_latch_heard(struct hnt_latch *latch, struct hnt_header header, double now);

bool hnt_evidence_admits(const struct hnt_evidence *evidence, const struct hnt_address *source);
/* Whether its party has yet to be told of the port: who sends there is no party. */
bool hnt_evidence_is_untold(const struct hnt_evidence *evidence);
bool hnt_evidence_is_likely(const struct hnt_evidence *evidence, const struct hnt_address *source);
/* How many packets in sequence a source has to send. */
unsigned hnt_evidence_needs(const struct hnt_evidence *evidence, const struct hnt_address *source);
bool hnt_same_address(const struct hnt_address *a, const struct hnt_address *b);
bool hnt_same_ip(const struct hnt_address *a, const struct hnt_address *b);

#endif

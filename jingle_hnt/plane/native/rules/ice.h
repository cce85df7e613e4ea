/* The latch of a pinhole whose party is an ICE agent: only signed checks teach it.
 *
 * The twin of jingle_hnt/relay/ice_latch.py, which says what the rules are and why; a property test drives
 * both with the same packets. */
#ifndef HNT_ICE_H
#define HNT_ICE_H

#include "rules/latch.h"
#include "rules/pace.h"
#include "rules/stun.h"

#define HNT_MOVES_PER_S 1.0
#define HNT_MOVES_AT_ONCE 8.0
#define HNT_GUESSES_PER_S 500.0
#define HNT_GUESSES_AT_ONCE 500.0
enum { HNT_SOURCES = 8, HNT_TRANSACTIONS = 64, HNT_LONGEST_KEPT = 512 };

struct hnt_key {
    uint16_t username_length, password_length;
    uint8_t username[HNT_MAX_USERNAME], password[HNT_MAX_PASSWORD];
};

struct hnt_source {
    struct hnt_address address;
    double first_at, asked_at, heard_at;
    bool fresh; /* asked with the newest key */
};

struct hnt_asked {
    uint8_t transaction[HNT_TRANSACTION];
    struct hnt_address source;
};

/* What a latch knows of an agent, beside its evidence; `selected` is -1 for nobody. */
struct hnt_ice {
    struct hnt_source source[HNT_SOURCES];
    struct hnt_asked asked[HNT_TRANSACTIONS]; /* a ring; `oldest` makes room once it is full */
    unsigned sources, transactions, oldest, keys;
    unsigned signer; /* the key of the last check that was believed */
    int selected;
    bool nominated;
    struct hnt_pace moves, guesses;
    uint16_t kept_length; /* of a check that waits until the other party is known; 0: none */
    uint8_t kept[HNT_LONGEST_KEPT];
};

/* Whether the agent has yet to say its name: its checks are answered here meanwhile. */
bool hnt_ice_is_early(const struct hnt_latch *latch);

/* Arm a latch with evidence that has keys. False: the generation is not greater, or no memory. */
bool hnt_ice_arm(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence);
void hnt_ice_resume(struct hnt_latch *latch, const struct hnt_address *source, double now);
enum hnt_verdict hnt_ice_observe(struct hnt_latch *latch, const struct hnt_address *source,
                                 struct hnt_header header, const uint8_t *data, size_t length, double now);

/* Where the other party's next check goes; NULL while nobody is known. */
const struct hnt_address *hnt_ice_where_to_ask(const struct hnt_latch *latch, double now);

/* Who sent the request of this transaction; NULL where nobody did, or too long ago. */
const struct hnt_address *hnt_ice_asker(const struct hnt_latch *latch, const uint8_t *transaction);

/* Keep a believed check of this party for the other one, in place of an earlier one. */
void hnt_ice_keep(struct hnt_latch *latch, const uint8_t *data, size_t length);

/* A nomination of the other party goes to this source; tells whether that moves the selection. */
bool hnt_ice_nominated(struct hnt_latch *latch, const struct hnt_address *address, double now);

/* This source has answered a check of ours, signed by the party (agent.h). */
enum hnt_verdict hnt_ice_vouch(struct hnt_latch *latch, const struct hnt_address *address, bool nominates, double now);

/* The selected source has not consented for too long: nobody is to have anything. */
void hnt_ice_lose(struct hnt_latch *latch);

#endif

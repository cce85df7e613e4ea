/* The relay as an ICE agent of its own towards one party.
 *
 * The twin of jingle_hnt/relay/ice_agent.py, which says what the rules are and why; a property test drives both
 * with the same packets. No system calls here: time is an argument, in monotonic seconds. */
#ifndef HNT_AGENT_H
#define HNT_AGENT_H

#include "rules/ice.h"

#define HNT_CONSENT_S 4.0
#define HNT_CONSENT_LOST_S 30.0
enum { HNT_ATTEMPTS = 10, HNT_PER_TICK = 2, HNT_UNASKED = 1, HNT_UNASKED_EACH = 2 };

/* What its checks are made with. */
struct hnt_checks {
    struct hnt_key key; /* the username of our requests, the party's password */
    uint8_t secret[HNT_MAX_PASSWORD];
    uint16_t secret_length;
    uint64_t tie_breaker;
    bool controlling;
    unsigned targets;
    struct hnt_address target[HNT_TARGETS];
};

enum hnt_answered { HNT_NOTHING = 0, HNT_REFUSED = 1, HNT_VALID = 2, HNT_NOMINATED = 3 };

struct hnt_target {
    struct hnt_address address;
    double proven_at, next_at;
    uint8_t transaction[HNT_TRANSACTION];
    uint8_t attempts;
    bool asked; /* a transaction is under way */
    bool valid, nominates, nominated, controlling;
    bool heard; /* a believed check came from it */
};

struct hnt_agent {
    struct hnt_checks checks;
    bool controlling;
    unsigned targets, unasked; /* unasked: checks to who was never heard */
    uint64_t serial, sent, answered, refused;
    struct hnt_target target[HNT_TARGETS];
};

struct hnt_own_check {
    struct hnt_address to;
    size_t length;
    bool unasked; /* nothing has come from there yet */
    uint8_t bytes[HNT_LONGEST_OWN];
};

/* `agent` is zeroed before it is armed for the first time. */
void hnt_agent_arm(struct hnt_agent *agent, const struct hnt_checks *checks, double now);

/* Writes the answer to a check that was believed, and returns its length. */
size_t hnt_agent_answer(struct hnt_agent *agent, const struct hnt_binding_message *message,
                        const struct hnt_address *source, struct hnt_password password, double now, uint8_t *out);
enum hnt_answered hnt_agent_hear(struct hnt_agent *agent, const struct hnt_binding_message *message,
                                 const uint8_t *data, const struct hnt_address *source, double now);

/* Writes up to HNT_PER_TICK checks, and returns how many. `selected` may be NULL. */
unsigned hnt_agent_tick(struct hnt_agent *agent, const struct hnt_address *selected, double now,
                        struct hnt_own_check *out);
bool hnt_agent_has_lost(struct hnt_agent *agent, const struct hnt_address *selected, double now);

#endif

/* What becomes of one packet: asks the latch, counts, and says whether it goes on and where to. */
#include "io/binding.h"

#include <string.h>

#include "rules/agent.h"
#include "rules/ice.h"
#include "io/pinhole.h"
#include "rules/srtp.h"

enum {
    NOMINAL_PER_S = 20,
    RIVALS_PER_S = 200, /* past this the door is shut to rivals until the next second */
    NOMINAL_BYTES_PER_S = 16000,
};

static bool is_setup(struct hnt_header header)
{
    return header.kind == HNT_STUN || header.kind == HNT_ZRTP || header.kind == HNT_DTLS;
}

static bool may_flow(struct pinhole *from, struct hnt_header header, size_t length, double now)
{
    switch (from->flow) {
    case HNT_OPEN:
    case HNT_HOLDING:
        return true;
    case HNT_HELD:
        return header.kind == HNT_RTCP || (from->latch.ice != NULL && is_setup(header));
    case HNT_WAITING:
        return header.kind == HNT_STUN && from->latch.ice != NULL;
    case HNT_NOMINAL: {
        int64_t second = (int64_t)now;
        if (!is_setup(header))
            return false;
        if (from->nominal_second != second) {
            from->nominal_second = second;
            from->nominal_passed = from->nominal_bytes = 0;
        }
        if (from->nominal_passed == NOMINAL_PER_S || from->nominal_bytes + length > NOMINAL_BYTES_PER_S)
            return false;
        from->nominal_passed++;
        from->nominal_bytes += (unsigned)length;
        return true;
    }
    default:
        return false;
    }
}

/* Whether a packet may go to a pinhole that has heard nobody yet (RFC 7362 section 4). */
static bool may_go_unasked(struct pinhole *to, size_t length)
{
    if (to->early.version == 0 || to->early_packets == 0 || to->early_bytes < length)
        return false;
    to->early_packets--;
    to->early_bytes -= (unsigned)length;
    return true;
}

/* At most once a second. */
static void tell_rival(struct pinhole *pinhole, const struct hnt_address *source, double now)
{
    if (now - pinhole->rivalry_told_at < HNT_RIVALRY_EVENT_S)
        return;
    struct hnt_event event = hnt_event_of(pinhole, HNT_EVENT_RIVALRY);
    event.source = *source;
    pinhole->rivalry_told_at = now;
    hnt_happened(pinhole->binding->worker->engine, event);
}

/* Whether more come to the door in this second than are worth being looked at. */
static bool is_flooded(struct pinhole *pinhole, unsigned most, double now)
{
    if (now - pinhole->rivals_since >= 1.0 && !pinhole->door_guarded) {
        pinhole->rivals_since = now;
        pinhole->rivals = 0;
    }
    return ++pinhole->rivals > most;
}

/* Nobody that a signature could be expected of; the kernel turns its like away once there are many. */
static void count_stranger(struct pinhole *pinhole, const struct hnt_address *source, double now)
{
    if (!hnt_may_guard(pinhole))
        return;
    bool flooded = is_flooded(pinhole, HNT_STRANGERS_PER_S, now);
    if (pinhole->door_guarded || pinhole->rivals > HNT_STRANGERS_PER_S / 2)
        hnt_note_crowd(pinhole, source);
    if (!pinhole->door_guarded && flooded)
        hnt_guard_door(pinhole, HNT_FIRST_IN, false);
    else if (pinhole->door_guarded && pinhole->rivals > pinhole->mark_at)
        hnt_widen_guard(pinhole);
}

/* `source` is NULL on the line: another stream in the learned source's name, who is no rival of itself. */
static void count_rival(struct pinhole *pinhole, const struct hnt_address *source, double now)
{
    const struct hnt_latch *latch = &pinhole->latch;
    if (source == NULL || (latch->state == HNT_LATCHED && hnt_same_address(source, &latch->source)))
        return;
    tell_rival(pinhole, source, now);
    if (hnt_may_guard(pinhole)) {
        count_stranger(pinhole, source, now);
        return;
    }
    if (!is_flooded(pinhole, RIVALS_PER_S, now) || latch->state != HNT_LATCHED || pinhole->door_narrow ||
        pinhole->line < 0)
        return;
    if (!hnt_latch_may_yield(latch, now))
        hnt_narrow_door(pinhole);
}

/* A packet at a port that nobody was told of. A flood is left to the kernel until the next second. */
static void note_untold(struct pinhole *pinhole, const struct hnt_address *source, double now)
{
    if (hnt_bars_note(&pinhole->binding->worker->engine->bars, source, now))
        tell_rival(pinhole, source, now);
    if (is_flooded(pinhole, RIVALS_PER_S, now) && !pinhole->door_flooded) {
        pinhole->door_flooded = true;
        hnt_door_close_filter(pinhole->door);
    }
}

/* A source that sprays, where nothing is known of the party. */
static bool is_kept_out(struct pinhole *pinhole, const struct hnt_address *source, double now)
{
    const struct hnt_latch *latch = &pinhole->latch;
    if (latch->evidence == NULL || (latch->state == HNT_LATCHED && hnt_same_address(source, &latch->source)))
        return false;
    if (hnt_evidence_is_untold(latch->evidence))
        note_untold(pinhole, source, now);
    return latch->evidence->probation > 1 && !hnt_evidence_is_likely(latch->evidence, source) &&
           hnt_bars_has(&pinhole->binding->worker->engine->bars, source, now);
}

/* An answer to one of our own checks. */
static enum hnt_verdict hear_answer(struct pinhole *pinhole, const struct hnt_binding_message *message,
                                    const struct hnt_address *source, const uint8_t *data, double now)
{
    if (!hnt_evidence_admits(pinhole->latch.evidence, source))
        return HNT_STRANGER;
    if (!hnt_stun_is_intact(data, message))
        return HNT_UNFIT;
    enum hnt_answered answered = hnt_agent_hear(pinhole->agent, message, data, source, now);
    if (answered == HNT_NOTHING || answered == HNT_REFUSED)
        return HNT_UNFIT;
    return hnt_ice_vouch(&pinhole->latch, source, answered == HNT_NOMINATED, now);
}

/* A believed check ends here, and is answered to where it came from. */
static void answer_check(struct pinhole *pinhole, const struct hnt_address *source, const uint8_t *data,
                         size_t length, double now)
{
    uint8_t answer[HNT_LONGEST_OWN];
    struct hnt_binding_message message;
    if (!hnt_stun_parse(data, length, &message) || message.kind != HNT_REQUEST)
        return;
    const struct hnt_key *key = &pinhole->latch.evidence->key[pinhole->latch.ice->signer];
    const struct hnt_password password = {key->password, key->password_length};
    hnt_send_to(pinhole, source, answer, hnt_agent_answer(pinhole->agent, &message, source, password, now, answer));
}

/* The same of an agent that has yet to answer the offer: nobody else can answer it meanwhile. */
static void answer_early(struct pinhole *pinhole, const struct hnt_address *source, const uint8_t *data,
                         size_t length)
{
    uint8_t answer[HNT_LONGEST_OWN];
    struct hnt_binding_message message;
    if (!hnt_stun_parse(data, length, &message) || message.kind != HNT_REQUEST)
        return;
    const struct hnt_key *key = &pinhole->latch.evidence->key[pinhole->latch.ice->signer];
    const struct hnt_password password = {key->password, key->password_length};
    hnt_send_to(pinhole, source, answer, hnt_stun_success(answer, message.transaction, source, password));
}

/* Where a check's transaction is remembered, whichever pinhole believed it; the lock is held. */
static struct hnt_asked *remembered(struct hnt_believed *believed, const uint8_t *transaction)
{
    return &believed->slot[transaction[0] << 8 | transaction[1]];
}

static bool is_repeated(struct hnt_believed *believed, const uint8_t *transaction, const struct hnt_address *source)
{
    pthread_mutex_lock(&believed->lock);
    const struct hnt_asked *asked = remembered(believed, transaction);
    bool repeated = asked->source.version != 0 && !hnt_same_address(&asked->source, source) &&
                    memcmp(asked->transaction, transaction, HNT_TRANSACTION) == 0;
    pthread_mutex_unlock(&believed->lock);
    return repeated;
}

static void remember(struct hnt_believed *believed, const uint8_t *transaction, const struct hnt_address *source)
{
    pthread_mutex_lock(&believed->lock);
    struct hnt_asked *asked = remembered(believed, transaction);
    memcpy(asked->transaction, transaction, HNT_TRANSACTION);
    asked->source = *source;
    pthread_mutex_unlock(&believed->lock);
}

/* What an agent's latch says. All components of a session have the same keys, so a check that one pinhole has
 * believed would be believed by the others: from elsewhere it is a replay. */
static enum hnt_verdict observe_agent(struct pinhole *pinhole, const struct hnt_address *source,
                                      struct hnt_header header, const uint8_t *data, size_t length, double now)
{
    if (header.kind != HNT_STUN || length < HNT_TRANSACTION_AT + HNT_TRANSACTION || data[0] != 0 || data[1] != 1)
        return hnt_ice_observe(&pinhole->latch, source, header, data, length, now);
    struct hnt_believed *believed = &pinhole->binding->worker->engine->believed;
    const uint8_t *transaction = data + HNT_TRANSACTION_AT;
    if (is_repeated(believed, transaction, source))
        return HNT_RIVAL;
    enum hnt_verdict verdict = hnt_ice_observe(&pinhole->latch, source, header, data, length, now);
    if (verdict == HNT_PASS || verdict == HNT_LATCHED_NOW || verdict == HNT_RELATCHED)
        remember(believed, transaction, source);
    return verdict;
}

/* What the latch says; `source` is NULL on the line, where the kernel has checked it. */
static enum hnt_verdict observe(struct pinhole *pinhole, const struct hnt_address *source,
                                struct hnt_header header, const uint8_t *data, size_t length, double now)
{
    struct hnt_latch *latch = &pinhole->latch;
    if (pinhole->agent != NULL && header.kind == HNT_STUN) {
        struct hnt_binding_message message;
        const struct hnt_address *from = source != NULL ? source : &pinhole->line_peer;
        if (hnt_stun_read(data, length, &message) && message.kind >= HNT_SUCCESS)
            return hear_answer(pinhole, &message, from, data, now);
    }
    if (latch->ice != NULL)
        return observe_agent(pinhole, source != NULL ? source : &pinhole->line_peer, header, data, length, now);
    if (latch->srtp != NULL)
        return hnt_srtp_observe(latch, source != NULL ? source : &latch->source, header, data, length, now);
    if (source != NULL && is_kept_out(pinhole, source, now))
        return HNT_STRANGER;
    if (source != NULL)
        return hnt_latch_observe(latch, source, header, now);
    return hnt_latch_heard(latch, header, now);
}

/* Where a check or an answer of one ICE agent goes at the other; NULL where nobody is to have it. */
static const struct hnt_address *destination_of_check(struct pinhole *from, struct pinhole *to,
                                                      const uint8_t *data, size_t length, double now)
{
    struct hnt_binding_message message;
    if (!hnt_stun_parse(data, length, &message))
        return NULL;
    if (to->latch.ice == NULL) {
        if (message.kind == HNT_REQUEST && from->latch.ice != NULL)
            hnt_ice_keep(&from->latch, data, length);
        return NULL;
    }
    if (message.kind == HNT_INDICATION)
        return to->latch.state == HNT_LATCHED ? &to->latch.source : NULL;
    if (message.kind != HNT_REQUEST)
        return hnt_ice_asker(&to->latch, message.transaction);
    bool waits = from->flow == HNT_WAITING;
    const struct hnt_address *destination = waits ? NULL : hnt_ice_where_to_ask(&to->latch, now);
    if (destination == NULL && from->latch.ice != NULL)
        hnt_ice_keep(&from->latch, data, length);
    else if (destination != NULL && message.nominates && hnt_ice_nominated(&to->latch, destination, now))
        to->moved = true;
    return destination;
}

void hnt_deliver_kept(struct pinhole *to, double now)
{
    struct pinhole *from = &to->binding->pinholes[1 - to->side];
    struct hnt_ice *ice = from->latch.ice;
    if (to->latch.ice == NULL || to->latch.state != HNT_LATCHED || ice == NULL || ice->kept_length == 0 ||
        from->flow == HNT_WAITING)
        return;
    uint16_t length = ice->kept_length;
    const struct hnt_address *destination = destination_of_check(from, to, ice->kept, length, now);
    ice->kept_length = 0;
    if (destination == NULL)
        return;
    if (hnt_send_to(to, destination, ice->kept, length) < 0)
        return;
    to->counters[HNT_SENT_PACKETS]++;
    to->counters[HNT_SENT_BYTES] += length;
}

static bool is_let_in(struct pinhole *pinhole, const struct hnt_address *source, struct hnt_header header,
                      const uint8_t *data, size_t length, double now)
{
    static const uint8_t DROP[] = {
        [HNT_ON_PROBATION] = HNT_DROPPED_PROBATION, [HNT_NOT_ARMED] = HNT_DROPPED_SHUT,
        [HNT_STRANGER] = HNT_DROPPED_STRANGER,      [HNT_UNFIT] = HNT_DROPPED_UNFIT,
        [HNT_RIVAL] = HNT_DROPPED_RIVAL,
    };
    enum hnt_verdict verdict = observe(pinhole, source, header, data, length, now);
    if (verdict == HNT_PASS)
        return true;
    if (verdict == HNT_RELATCHED && pinhole->latch.ice != NULL) {
        pinhole->moved = true;
        return true;
    }
    if (verdict == HNT_LATCHED_NOW || verdict == HNT_RELATCHED) {
        hnt_connect_line(pinhole->binding->worker, pinhole);
        hnt_tell_latched(pinhole, verdict == HNT_RELATCHED, now);
        if (verdict == HNT_LATCHED_NOW)
            hnt_deliver_kept(pinhole, now);
        return true;
    }
    pinhole->counters[DROP[verdict]]++;
    if (verdict == HNT_RIVAL)
        count_rival(pinhole, source, now);
    else if (source != NULL && (verdict == HNT_STRANGER || verdict == HNT_UNFIT))
        count_stranger(pinhole, source, now);
    return false;
}

/* Whether `from` was heard from its learned source, which is no bystander then. A source that one packet has taught,
 * in whoever's name, gets so many of the other party's until it sends again; who still sends a second later has
 * shown that it wants them. Only where signalling has not told the address: else it is the party's own. */
static void note_proof(struct pinhole *pinhole, bool heard, double now)
{
    const struct hnt_latch *latch = &pinhole->latch;
    if (pinhole->proof_of != latch->latched_at) {
        pinhole->proof_of = latch->latched_at;
        pinhole->unproven_left = HNT_UNPROVEN;
        pinhole->proven = latch->ice == NULL && latch->srtp == NULL && latch->evidence->probation <= 1;
    } else if (heard && !pinhole->proven) {
        pinhole->unproven_left = HNT_UNPROVEN;
        pinhole->proven = now - latch->latched_at >= HNT_PROVEN_S;
    }
}

static bool may_have_more(struct pinhole *to, double now)
{
    if (to->latch.state != HNT_LATCHED)
        return true; /* an early stream has bounds of its own */
    note_proof(to, false, now);
    return to->proven || (to->unproven_left > 0 && to->unproven_left-- > 0);
}

/* Whether a packet that may go on has somewhere to go; `*length_out` is 0 where that is the other party's
 * learned source. */
static bool find_destination(struct pinhole *from, struct pinhole *to, struct hnt_header header,
                             const uint8_t *data, size_t length, double now, struct sockaddr_storage *out,
                             socklen_t *length_out)
{
    *length_out = 0;
    if (header.kind == HNT_STUN && to->agent != NULL)
        return false; /* nobody but us asks in our name */
    if (header.kind != HNT_STUN || from->latch.ice == NULL)
        return to->latch.state == HNT_LATCHED || may_go_unasked(to, length);
    const struct hnt_address *destination = destination_of_check(from, to, data, length, now);
    if (destination == NULL)
        return false;
    *length_out = hnt_to_sockaddr(destination, out);
    return true;
}

bool hnt_judge(struct pinhole *from, const struct hnt_address *source, const uint8_t *data,
                  size_t length, double now, struct sockaddr_storage *destination,
                  socklen_t *destination_length)
{
    if (from->binding->released) {
        from->busy_at = now;
        return false;
    }
    struct pinhole *to = &from->binding->pinholes[1 - from->side];
    struct hnt_header header = hnt_classify(data, length);
    struct hnt_address asker = source != NULL ? *source : from->line_peer; /* the line may move meanwhile */
    if (!is_let_in(from, source, header, data, length, now))
        return false;
    if (from->latch.state == HNT_LATCHED)
        note_proof(from, hnt_same_address(&asker, &from->latch.source), now);
    if (from->silent) {
        from->silent = false;
        hnt_happened(from->binding->worker->engine, hnt_event_of(from, HNT_EVENT_HEARD));
    }
    from->counters[HNT_RECEIVED_PACKETS]++;
    from->counters[HNT_RECEIVED_BYTES] += length;
    if (!hnt_latch_is_aside(&from->latch, header))
        hnt_stream_observe(&from->stream, header, data, length, now, &to->stream);
    if (from->agent != NULL && header.kind == HNT_STUN) {
        answer_check(from, &asker, data, length, now);
        hnt_ask_due(from, now);
        return false;
    }
    if (header.kind == HNT_STUN && hnt_ice_is_early(&from->latch))
        answer_early(from, &asker, data, length);
    if (header.kind == HNT_EMPTY)
        from->counters[HNT_DROPPED_EMPTY]++;
    else if (!may_flow(from, header, length, now))
        from->counters[HNT_DROPPED_GATE]++;
    else if (!hnt_bucket_admits(&from->bucket, &from->binding->worker->engine->limits, length, now))
        from->counters[HNT_DROPPED_POLICED]++;
    else if (!find_destination(from, to, header, data, length, now, destination, destination_length))
        from->counters[HNT_DROPPED_UNLATCHED]++;
    else if (*destination_length == 0 && !may_have_more(to, now))
        from->counters[HNT_DROPPED_POLICED]++;
    else
        return true;
    return false;
}

#include "latch.h"

#include <stdlib.h>
#include <string.h>

static const struct hnt_header NOTHING = {.kind = HNT_EMPTY};

void hnt_latch_init(struct hnt_latch *latch)
{
    memset(latch, 0, sizeof *latch);
    latch->generation = -1;
    latch->stream = NOTHING;
}

void hnt_latch_clear(struct hnt_latch *latch)
{
    free(latch->evidence);
    free(latch->ice);
    free(latch->srtp);
    hnt_latch_init(latch);
}

bool hnt_same_ip(const struct hnt_address *a, const struct hnt_address *b)
{
    return a->version == b->version && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

bool hnt_same_address(const struct hnt_address *a, const struct hnt_address *b)
{
    return a->port == b->port && hnt_same_ip(a, b);
}

static bool within(const struct hnt_address *address, const struct hnt_network *network)
{
    unsigned whole = network->prefix / 8, rest = network->prefix % 8;
    if (address->version != network->version || memcmp(address->ip, network->ip, whole) != 0)
        return false;
    return rest == 0 || ((address->ip[whole] ^ network->ip[whole]) >> (8 - rest)) == 0;
}

static bool within_any(const struct hnt_address *address, const struct hnt_network *networks, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (within(address, networks + i))
            return true;
    return false;
}

bool hnt_evidence_admits(const struct hnt_evidence *evidence, const struct hnt_address *source)
{
    const struct hnt_network *network = evidence->networks, *refused = network + evidence->sources;
    return !within_any(source, refused, evidence->refused) && within_any(source, network, evidence->sources);
}

bool hnt_evidence_is_likely(const struct hnt_evidence *evidence, const struct hnt_address *source)
{
    return within_any(source, evidence->networks + evidence->sources + evidence->refused, evidence->likely);
}

unsigned hnt_evidence_needs(const struct hnt_evidence *evidence, const struct hnt_address *source)
{
    return hnt_evidence_is_likely(evidence, source) ? 1 : evidence->probation;
}

/* RTCP of a stream that is followed by its RTP (rtcp-mux, RFC 5761) says nothing of it. */
static bool is_aside(struct hnt_header stream, struct hnt_header header)
{
    return stream.kind == HNT_RTP && header.kind == HNT_RTCP;
}

static bool continues(struct hnt_header before, struct hnt_header after)
{
    if (before.kind != after.kind || before.ssrc != after.ssrc)
        return false;
    if (after.kind != HNT_RTP)
        return true;
    uint16_t ahead = (uint16_t)(after.sequence - before.sequence);
    return ahead > 0 && ahead <= HNT_MAX_DROPOUT;
}

static bool teaches(struct hnt_header header)
{
    return header.kind == HNT_RTP || header.kind == HNT_RTCP || header.kind == HNT_DTLS ||
           header.kind == HNT_ZRTP;
}

bool hnt_latch_arm(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence)
{
    if (generation <= latch->generation)
        return false;
    free(latch->evidence);
    free(latch->ice);
    free(latch->srtp);
    latch->ice = NULL;
    latch->srtp = NULL;
    latch->evidence = evidence;
    latch->generation = generation;
    latch->state = HNT_ARMED;
    latch->stream = NOTHING;
    latch->has_first = false;
    latch->successor.streak = 0;
    latch->contenders = 0;
    return true;
}

static void learn(struct hnt_latch *latch, const struct hnt_address *source, double now)
{
    latch->state = HNT_LATCHED;
    latch->source = *source;
    latch->latched_at = latch->heard_at = now;
}

void hnt_latch_resume(struct hnt_latch *latch, const struct hnt_address *source, double now)
{
    learn(latch, source, now);
}

static void begin_stream(struct hnt_latch *latch, struct hnt_header header, double now)
{
    latch->stream = header;
    latch->streamed_at = now;
    latch->successor.streak = 0;
    if (!latch->has_first)
        latch->first_ssrc = header.ssrc;
    latch->has_first = true;
}

static enum hnt_verdict believe(struct hnt_latch *latch, const struct hnt_address *source,
                                struct hnt_header header, double now, enum hnt_verdict verdict)
{
    learn(latch, source, now);
    latch->successor.streak = 0;
    latch->stream = header;
    if (header.kind == HNT_RTP)
        begin_stream(latch, header, now);
    latch->contenders = 0;
    return verdict;
}

static void carry_on(struct hnt_contender *contender, struct hnt_header header, double now)
{
    contender->last_at = now;
    if (is_aside(contender->header, header))
        return;
    contender->streak = continues(contender->header, header) ? contender->streak + 1 : 1;
    contender->header = header;
}

static bool is_another_stream(const struct hnt_latch *latch, struct hnt_header header)
{
    return latch->stream.kind == HNT_RTP && header.ssrc != latch->stream.ssrc && !latch->evidence->several &&
           !(latch->has_first && header.ssrc == latch->first_ssrc);
}

static uint32_t audition_stream(struct hnt_latch *latch, struct hnt_header header, double now)
{
    struct hnt_contender *successor = &latch->successor;
    if (successor->streak == 0)
        *successor = (struct hnt_contender){.header = header, .streak = 1, .last_at = now};
    else
        carry_on(successor, header, now);
    return successor->streak;
}

/* RTP from the learned source: of the stream that it sends, or of another. */
static enum hnt_verdict follow(struct hnt_latch *latch, struct hnt_header header, double now)
{
    if (is_another_stream(latch, header)) {
        if (now - latch->streamed_at < HNT_SILENCE_S)
            return HNT_RIVAL;
        if (audition_stream(latch, header, now) < HNT_PROBATION)
            return HNT_ON_PROBATION;
    }
    begin_stream(latch, header, now);
    return HNT_PASS;
}

enum hnt_verdict hnt_latch_heard(struct hnt_latch *latch, struct hnt_header header, double now)
{
    if (header.kind == HNT_RTP) {
        enum hnt_verdict verdict = follow(latch, header, now);
        if (verdict != HNT_PASS)
            return verdict;
    } else if (header.kind == HNT_RTCP && !is_aside(latch->stream, header)) {
        latch->stream = header;
    }
    latch->heard_at = now;
    return HNT_PASS;
}

/* Removing keeps the order of arrival, as the Python list does: ties go to who came first. */
static void make_room(struct hnt_latch *latch)
{
    unsigned oldest = 0;
    for (unsigned i = 1; i < latch->contenders; i++)
        if (latch->contender[i].last_at < latch->contender[oldest].last_at)
            oldest = i;
    latch->contenders--;
    memmove(latch->contender + oldest, latch->contender + oldest + 1,
            (latch->contenders - oldest) * sizeof *latch->contender);
}

static struct hnt_contender *contend(struct hnt_latch *latch, const struct hnt_address *source,
                                     struct hnt_header header, double now)
{
    for (unsigned i = 0; i < latch->contenders; i++) {
        if (hnt_same_address(&latch->contender[i].source, source)) {
            carry_on(&latch->contender[i], header, now);
            return &latch->contender[i];
        }
    }
    if (latch->contenders == HNT_CONTENDERS)
        make_room(latch);
    struct hnt_contender *contender = &latch->contender[latch->contenders++];
    contender->source = *source;
    contender->header = header;
    contender->streak = 1;
    contender->last_at = now;
    return contender;
}

static bool contested(const struct hnt_latch *latch, const struct hnt_contender *contender, double now)
{
    for (unsigned i = 0; i < latch->contenders; i++)
        if (&latch->contender[i] != contender && now - latch->contender[i].last_at < HNT_RIVALRY_S)
            return true;
    return false;
}

static enum hnt_verdict audition(struct hnt_latch *latch, const struct hnt_address *source,
                                 struct hnt_header header, double now)
{
    unsigned needed = hnt_evidence_needs(latch->evidence, source);
    if (needed <= 1)
        return believe(latch, source, header, now, HNT_LATCHED_NOW);
    struct hnt_contender *contender = contend(latch, source, header, now);
    if (contested(latch, contender, now))
        return HNT_RIVAL;
    if (contender->streak < needed)
        return HNT_ON_PROBATION;
    return believe(latch, source, header, now, HNT_LATCHED_NOW);
}

static bool may_be_remapped(const struct hnt_latch *latch, const struct hnt_address *source,
                            struct hnt_header header, double now)
{
    return hnt_same_ip(source, &latch->source) && now - latch->heard_at >= HNT_SILENCE_S &&
           (continues(latch->stream, header) || is_aside(latch->stream, header));
}

/* A packet of another source while latched: a rival, or the same stream re-mapped. */
static enum hnt_verdict challenge(struct hnt_latch *latch, const struct hnt_address *source,
                                  struct hnt_header header, double now)
{
    struct hnt_contender *contender = contend(latch, source, header, now);
    if (!may_be_remapped(latch, source, header, now)) {
        contender->streak = 0;
        return HNT_RIVAL;
    }
    if (contested(latch, contender, now))
        return HNT_RIVAL;
    if (contender->streak < HNT_PROBATION)
        return HNT_ON_PROBATION;
    return believe(latch, source, header, now, HNT_RELATCHED);
}

enum hnt_verdict hnt_latch_observe(struct hnt_latch *latch, const struct hnt_address *source,
                                   struct hnt_header header, double now)
{
    if (latch->evidence == NULL)
        return HNT_NOT_ARMED;
    if (latch->state == HNT_LATCHED && hnt_same_address(source, &latch->source)) {
        return hnt_latch_heard(latch, header, now);
    }
    if (!hnt_evidence_admits(latch->evidence, source))
        return HNT_STRANGER;
    if (!teaches(header))
        return HNT_UNFIT;
    if (latch->state == HNT_LATCHED)
        return challenge(latch, source, header, now);
    return audition(latch, source, header, now);
}

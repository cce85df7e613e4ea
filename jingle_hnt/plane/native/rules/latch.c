/* Which packet teaches a latch, passes it, or is a stranger's, a rival's or on probation: twin of relay/latch.py. */
#include "rules/latch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define YIELD_S 0.3
#define SETUP_YIELD_S 1.5
#define REPORTS_YIELD_S 8.0
#define SUCCESSION_S 0.08
#define SUCCESSION_SPAN_S 0.035
#define SEAM_S 0.06
#define DISTURBED_S 10.0
#define SEAT_S 0.08
#define SEATS_APART_S 0.005
enum { FEW_REPORTS = 3, SUCCESSION_PACKETS = 3, RETURN_PACKETS = 2 };

void hnt_latch_init(struct hnt_latch *latch)
{
    memset(latch, 0, sizeof *latch);
    latch->generation = -1;
    latch->disturbed_at = -INFINITY;
}

void hnt_latch_clear(struct hnt_latch *latch)
{
    free(latch->evidence);
    free(latch->ice);
    free(latch->srtp);
    free(latch->others);
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

bool hnt_evidence_is_untold(const struct hnt_evidence *evidence)
{
    return evidence->sources == 0;
}

bool hnt_evidence_is_likely(const struct hnt_evidence *evidence, const struct hnt_address *source)
{
    return within_any(source, evidence->networks + evidence->sources + evidence->refused, evidence->likely);
}

unsigned hnt_evidence_needs(const struct hnt_evidence *evidence, const struct hnt_address *source)
{
    return hnt_evidence_is_likely(evidence, source) ? 1 : evidence->probation;
}

static bool teaches(struct hnt_header header)
{
    return header.kind == HNT_RTP || header.kind == HNT_RTCP || header.kind == HNT_DTLS ||
           header.kind == HNT_ZRTP;
}

/* Whether it is what this port is for. */
static bool is_media(const struct hnt_latch *latch, struct hnt_header header)
{
    return header.kind == (latch->evidence->reports ? HNT_RTCP : HNT_RTP);
}

/* The last rules were others: of clear media nothing is known any more. */
static void forget(struct hnt_latch *latch)
{
    free(latch->ice);
    free(latch->srtp);
    free(latch->others);
    latch->ice = NULL;
    latch->srtp = NULL;
    latch->others = NULL;
    latch->has_former = latch->former_was_sure = false;
    latch->disturbed_at = -INFINITY;
    latch->state = HNT_SHUT;
}

static bool is_sure(const struct hnt_owner *owner)
{
    return owner->spoken_s >= HNT_TENURE_S;
}

/* NULL where memory is short: nobody contends, nobody is remembered. */
static struct hnt_others *others_of(struct hnt_latch *latch)
{
    if (latch->others == NULL)
        latch->others = calloc(1, sizeof *latch->others);
    return latch->others;
}

static void make_former(struct hnt_latch *latch)
{
    latch->has_former = true;
    latch->former = latch->owner.source;
    latch->former_spoke = latch->owner.streams > 0;
    latch->former_shook = latch->owner.handshakes;
    latch->former_was_sure = is_sure(&latch->owner) && others_of(latch) != NULL;
    if (others_of(latch) != NULL)
        latch->others->displaced[0] = latch->owner;
}

void hnt_latch_expect(struct hnt_latch *latch, bool media)
{
    if (media && latch->expects_nothing)
        latch->waits_since = NAN;
    latch->expects_nothing = !media;
}

bool hnt_latch_arm(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence)
{
    if (generation <= latch->generation)
        return false;
    if (latch->ice != NULL || latch->srtp != NULL)
        forget(latch);
    bool owned = latch->state == HNT_LATCHED;
    if (owned)
        make_former(latch);
    if (latch->others != NULL) {
        latch->others->past = 0;
        for (unsigned i = 0; i < latch->others->contenders; i++)
            latch->others->contender[i].rival |=
                owned && !hnt_same_address(&latch->others->contender[i].source, &latch->source);
    }
    free(latch->evidence);
    latch->evidence = evidence;
    latch->generation = generation;
    latch->state = HNT_ARMED;
    latch->resumed = false;
    latch->waits_since = NAN;
    return true;
}

static void learn_source(struct hnt_latch *latch, double now)
{
    latch->state = HNT_LATCHED;
    latch->source = latch->owner.source;
    latch->latched_at = latch->heard_at = now;
    latch->has_former = false;
}

void hnt_latch_resume(struct hnt_latch *latch, const struct hnt_address *source, const struct hnt_header *stream,
                      double now)
{
    struct hnt_header nothing = {.kind = HNT_EMPTY};
    hnt_owner_init(&latch->owner, source, nothing, now);
    latch->owner.spoken_s = HNT_TENURE_S;
    latch->resumed = stream == NULL;
    if (stream != NULL) {
        latch->owner.streams = 1;
        latch->owner.stream[0] = (struct hnt_own_stream){
            .ssrc = stream->ssrc, .top = stream->sequence, .last_at = now, .old = true};
    }
    learn_source(latch, now);
    latch->waits_since = now;
}

bool hnt_latch_stream(const struct hnt_latch *latch, struct hnt_header *out)
{
    bool clear = latch->state == HNT_LATCHED && latch->ice == NULL && latch->srtp == NULL;
    const struct hnt_own_stream *latest = clear ? hnt_owner_latest(&latch->owner) : NULL;
    if (latest == NULL)
        return false;
    *out = (struct hnt_header){.ssrc = latest->ssrc, .sequence = latest->top, .kind = HNT_RTP};
    return true;
}

bool hnt_latch_stream_news(struct hnt_latch *latch, const uint32_t *told, double now, struct hnt_header *out)
{
    if (!hnt_latch_stream(latch, out) || (told != NULL && out->ssrc == *told))
        return false;
    const struct hnt_own_stream *before = told == NULL ? NULL : hnt_owner_stream(&latch->owner, *told);
    return before == NULL || now - before->last_at >= HNT_SILENCE_S;
}

/* The first packet since the latch was armed, or media was expected again. An owner that was silent by then has
 * precedence in the next generation, too: it was on hold. */
static void begin_to_wait(struct hnt_latch *latch, double now)
{
    latch->waits_since = now;
    if (latch->state != HNT_LATCHED && latch->has_former && latch->former_was_sure &&
        now - latch->heard_at >= HNT_SILENCE_S)
        latch->others->past = 1;
}

/* How long the owner has been silent that could have spoken. */
static double quiet_s(const struct hnt_latch *latch, double now)
{
    return now - (latch->heard_at > latch->waits_since ? latch->heard_at : latch->waits_since);
}

/* Contenders */

static unsigned length_of(const struct hnt_contender *contender)
{
    return hnt_streak_length(&contender->streak);
}

static bool is_of(const struct hnt_contender *contender, const struct hnt_address *source, struct hnt_header header)
{
    const struct hnt_header *mine = &contender->streak.header;
    return mine->kind == header.kind && mine->ssrc == header.ssrc && hnt_same_address(&contender->source, source);
}

/* A little longer for some than for others, lest places come free in step with a spray. */
static double seat_s(const struct hnt_contender *contender)
{
    return SEAT_S + ((contender->source.port ^ contender->streak.header.ssrc) & 15) * SEATS_APART_S;
}

/* Removing keeps the order of arrival, as the Python list does: ties go to who came first. */
static void remove_contender(struct hnt_others *others, unsigned place)
{
    others->contenders--;
    memmove(others->contender + place, others->contender + place + 1,
            (others->contenders - place) * sizeof *others->contender);
}

static bool is_surely_of(const struct hnt_owner *owner, struct hnt_header header)
{
    return is_sure(owner) && hnt_owner_carried_on(owner, header, HNT_RETURN_DROPOUT);
}

static bool is_known_stream(const struct hnt_latch *latch, struct hnt_header header)
{
    for (unsigned i = 0; i < latch->others->past; i++)
        if (is_surely_of(&latch->others->displaced[i], header))
            return true;
    return latch->state == HNT_LATCHED && is_surely_of(&latch->owner, header);
}

/* A streak that leads nowhere gives its place up; any other one to a stream that is known. */
static bool make_room(struct hnt_latch *latch, struct hnt_header header, double now)
{
    struct hnt_others *others = latch->others;
    bool known = is_known_stream(latch, header), found_spare = false;
    int found = -1;
    for (unsigned i = 0; i < others->contenders; i++) {
        const struct hnt_contender *it = &others->contender[i];
        bool spare = now - it->streak.last_at >= HNT_RIVALRY_S || (length_of(it) == 1 && now - it->first_at >= seat_s(it));
        if (!spare && (found_spare || !known || is_known_stream(latch, it->streak.header)))
            continue;
        if (found < 0 || (spare && !found_spare) || it->streak.last_at < others->contender[found].streak.last_at)
            found = (int)i;
        found_spare |= spare;
    }
    if (found >= 0)
        remove_contender(others, (unsigned)found);
    return found >= 0;
}

/* The streak of this packet; NULL where all places are taken. */
static struct hnt_contender *contend(struct hnt_latch *latch, const struct hnt_address *source,
                                     struct hnt_header header, double now)
{
    struct hnt_others *others = others_of(latch);
    bool rival = false;
    if (others == NULL)
        return NULL;
    for (unsigned i = 0; i < others->contenders; i++) {
        if (is_of(&others->contender[i], source, header)) {
            hnt_streak_hear(&others->contender[i].streak, header, now);
            return &others->contender[i];
        }
    }
    if (others->contenders == HNT_CONTENDERS && !make_room(latch, header, now))
        return NULL;
    for (unsigned i = 0; i < others->contenders; i++)
        rival |= others->contender[i].rival && hnt_same_address(&others->contender[i].source, source);
    struct hnt_contender *contender = &others->contender[others->contenders++];
    *contender = (struct hnt_contender){.source = *source, .first_at = now, .rival = rival};
    hnt_streak_begin(&contender->streak, header, now);
    return contender;
}

/* Whether another source has a streak, too, of at least so many packets; of this SSRC, unless it is NULL. */
static bool has_company(const struct hnt_latch *latch, const struct hnt_address *source, double now,
                        const uint32_t *ssrc, unsigned least)
{
    for (unsigned i = 0; i < latch->others->contenders; i++) {
        const struct hnt_contender *it = &latch->others->contender[i];
        if (!hnt_same_address(&it->source, source) && length_of(it) >= least &&
            now - it->streak.last_at < HNT_RIVALRY_S && (ssrc == NULL || *ssrc == it->streak.header.ssrc))
            return true;
    }
    return false;
}

static bool is_contested(const struct hnt_latch *latch, const struct hnt_address *source, double now,
                         const uint32_t *ssrc)
{
    bool former = latch->has_former && hnt_same_address(source, &latch->former);
    return has_company(latch, source, now, ssrc, former ? 1 : 2);
}

/* What is said of a source that is not believed yet, alone or beside others. */
static enum hnt_verdict not_yet(const struct hnt_latch *latch, const struct hnt_address *source, double now)
{
    return has_company(latch, source, now, NULL, 1) ? HNT_RIVAL : HNT_ON_PROBATION;
}

/* Whether others are there that the owner before was a rival of, and this is not it. */
static bool is_besieged(const struct hnt_latch *latch, const struct hnt_address *source, double now)
{
    bool owned = latch->state == HNT_LATCHED;
    if (latch->others == NULL || (!owned && (!latch->has_former || hnt_same_address(source, &latch->former))))
        return false;
    for (unsigned i = 0; i < latch->others->contenders; i++) {
        const struct hnt_contender *it = &latch->others->contender[i];
        bool counts = owned ? !hnt_same_address(&it->source, source) : it->rival;
        if (counts && now - it->streak.last_at < HNT_RIVALRY_S)
            return true;
    }
    return false;
}

/* Whether it was a rival of an owner of whom nobody knows yet that it left, or forged it. */
static bool was_rival(const struct hnt_latch *latch, const struct hnt_address *source, struct hnt_header header,
                      double now)
{
    if (quiet_s(latch, now) >= HNT_SILENCE_S || latch->others == NULL)
        return false;
    for (unsigned i = 0; i < latch->others->contenders; i++) {
        const struct hnt_contender *it = &latch->others->contender[i];
        if ((it->rival && hnt_same_address(&it->source, source)) || (it->interleaved && is_of(it, source, header)))
            return true;
    }
    return false;
}

/* The owner's packets */

static bool sends_one(const struct hnt_latch *latch)
{
    return !latch->evidence->several && !latch->evidence->reports;
}

/* Whether another SSRC of the owner has a streak that began when its stream had ended. */
static bool has_clean_successor(const struct hnt_latch *latch, double now)
{
    for (unsigned i = 0; i < latch->others->contenders; i++) {
        const struct hnt_contender *it = &latch->others->contender[i];
        if (!it->interleaved && length_of(it) >= 2 && now - it->streak.last_at < HNT_RIVALRY_S &&
            hnt_same_address(&it->source, &latch->source))
            return true;
    }
    return false;
}

/* Whether a stream of another SSRC follows the owner's own, in its own name. */
static enum hnt_verdict succeed(struct hnt_latch *latch, struct hnt_header header, double now)
{
    struct hnt_contender *contender = contend(latch, &latch->source, header, now);
    if (contender == NULL)
        return HNT_RIVAL;
    double quiet = now - latch->owner.spoke_at;
    unsigned length = length_of(contender);
    bool follows, disturbs = contender->interleaved || now - latch->disturbed_at < DISTURBED_S;
    if (contender->interleaved)
        follows = quiet >= latch->evidence->lapse_s && !has_clean_successor(latch, now) && length >= HNT_PROBATION;
    else if (disturbs)
        follows = quiet >= HNT_SILENCE_S && length >= HNT_PROBATION;
    else
        follows = quiet >= SUCCESSION_S && length >= SUCCESSION_PACKETS &&
                  now - contender->first_at >= SUCCESSION_SPAN_S;
    if (!follows)
        return disturbs ? HNT_RIVAL : HNT_ON_PROBATION;
    remove_contender(latch->others, (unsigned)(contender - latch->others->contender));
    return HNT_PASS;
}

static void mark_interleaved(struct hnt_latch *latch, double now)
{
    for (unsigned i = 0; latch->others != NULL && i < latch->others->contenders; i++) {
        struct hnt_contender *contender = &latch->others->contender[i];
        if (now - contender->first_at > SEAM_S && hnt_same_address(&contender->source, &latch->source)) {
            contender->interleaved = true;
            latch->disturbed_at = now;
        }
    }
}

/* Whether it tells of a key press, and is not of the stream of the media. */
static bool is_event(const struct hnt_latch *latch, struct hnt_header header)
{
    const struct hnt_owner *owner = &latch->owner;
    if (!sends_one(latch) || (latch->evidence->events[header.payload_type / 64] >> header.payload_type % 64 & 1) == 0)
        return false;
    for (unsigned i = 0; i < owner->streams; i++)
        if (owner->stream[i].ssrc == header.ssrc)
            return false;
    return true;
}

bool hnt_latch_is_aside(const struct hnt_latch *latch, struct hnt_header header)
{
    bool clear = latch->state == HNT_LATCHED && latch->ice == NULL && latch->srtp == NULL;
    return clear && header.kind == HNT_RTP && is_event(latch, header);
}

/* A key press: of the owner's one stream of them, or of another one after it. */
static enum hnt_verdict press(struct hnt_latch *latch, struct hnt_header header, double now)
{
    struct hnt_owner *owner = &latch->owner;
    if (!owner->presses || owner->events.ssrc != header.ssrc) {
        if (owner->presses && now - owner->events.last_at < SUCCESSION_S)
            latch->disturbed_at = now;
        if (now - latch->disturbed_at < DISTURBED_S)
            return HNT_RIVAL;
    }
    owner->presses = true;
    owner->events = (struct hnt_own_stream){.ssrc = header.ssrc, .top = header.sequence, .last_at = now};
    return HNT_PASS;
}

/* Media of the owner: of a stream that it sends, or of another. */
static enum hnt_verdict follow(struct hnt_latch *latch, struct hnt_header header, double now)
{
    bool one = sends_one(latch);
    if (is_event(latch, header))
        return press(latch, header, now);
    if (one && latch->owner.streams > 0 && hnt_owner_stream(&latch->owner, header.ssrc) == NULL) {
        enum hnt_verdict verdict = succeed(latch, header, now);
        if (verdict != HNT_PASS)
            return verdict;
    }
    if (hnt_owner_speak(&latch->owner, header, now, one))
        latch->disturbed_at = now;
    latch->resumed = false;
    if (one)
        mark_interleaved(latch, now);
    return HNT_PASS;
}

enum hnt_verdict hnt_latch_heard(struct hnt_latch *latch, struct hnt_header header, double now)
{
    if (isnan(latch->waits_since))
        begin_to_wait(latch, now);
    if (is_media(latch, header)) {
        enum hnt_verdict verdict = follow(latch, header, now);
        if (verdict != HNT_PASS)
            return verdict;
    } else if (header.kind != HNT_RTP && teaches(header)) {
        hnt_owner_shake(&latch->owner, header);
    }
    latch->owner.packets++;
    latch->heard_at = now;
    return HNT_PASS;
}

/* Learning */

static enum hnt_verdict learn(struct hnt_latch *latch, struct hnt_header header, double now, enum hnt_verdict verdict)
{
    learn_source(latch, now);
    latch->resumed = false;
    if (is_media(latch, header) && !is_event(latch, header))
        hnt_owner_speak(&latch->owner, header, now, false);
    if (latch->others != NULL)
        latch->others->contenders = 0;
    return verdict;
}

/* Learn the first source of a generation; the former one's streams are still its own. */
static enum hnt_verdict begin(struct hnt_latch *latch, const struct hnt_address *source, struct hnt_header header,
                              double now)
{
    const struct hnt_others *others = latch->others;
    hnt_owner_init(&latch->owner, source, header, now);
    latch->owner.by_silence = others != NULL && others->past > 0;
    if (others != NULL && latch->has_former && hnt_same_address(source, &latch->former)) {
        latch->owner.streams = others->displaced[0].streams;
        memcpy(latch->owner.stream, others->displaced[0].stream, sizeof latch->owner.stream);
    }
    return learn(latch, header, now, HNT_LATCHED_NOW);
}

static void remember_owner(struct hnt_latch *latch)
{
    struct hnt_others *others = others_of(latch);
    if (others == NULL)
        return;
    if (others->past == HNT_PAST)
        memmove(others->displaced, others->displaced + 1, --others->past * sizeof *others->displaced);
    others->displaced[others->past++] = latch->owner;
}

/* Another source takes the place of an owner that has fallen silent. */
static enum hnt_verdict displace(struct hnt_latch *latch, const struct hnt_address *source, struct hnt_header header,
                                 double now)
{
    struct hnt_address heir = *source; /* it may be a contender's, which is forgotten */
    remember_owner(latch);
    hnt_owner_init(&latch->owner, &heir, header, now);
    latch->owner.by_silence = true;
    return learn(latch, header, now, HNT_RELATCHED);
}

/* Others' packets */

/* Whether an owner that was silent when the latch was armed anew speaks on, as before. */
static bool goes_on_after_hold(const struct hnt_latch *latch, const struct hnt_contender *contender,
                               struct hnt_header header)
{
    if (latch->state == HNT_LATCHED || length_of(contender) < RETURN_PACKETS)
        return false;
    for (unsigned i = 0; i < latch->others->past; i++) {
        const struct hnt_owner *past = &latch->others->displaced[i];
        if (hnt_same_address(&contender->source, &past->source) &&
            hnt_owner_carried_on(past, header, HNT_RETURN_DROPOUT))
            return true;
    }
    return false;
}

/* Whether the owner before sent media, so that nothing else teaches another source. */
static bool is_media_awaited(const struct hnt_latch *latch, const struct hnt_address *source, struct hnt_header header)
{
    bool spoke = latch->former_spoke, shook = latch->former_shook;
    const struct hnt_address *before = &latch->former;
    if (latch->state == HNT_LATCHED) {
        before = &latch->source;
        spoke = latch->owner.streams > 0;
        shook = latch->owner.handshakes;
    } else if (!latch->has_former) {
        return false;
    }
    return !hnt_same_address(source, before) && spoke && (header.kind == HNT_RTCP || !shook);
}

/* A packet at a latch that has no owner, or one that was silent for too long. */
static enum hnt_verdict audition(struct hnt_latch *latch, const struct hnt_address *source,
                                 struct hnt_header header, double now)
{
    if (!is_media(latch, header) && is_media_awaited(latch, source, header))
        return HNT_ON_PROBATION;
    unsigned needed = hnt_evidence_needs(latch->evidence, source);
    bool rival = was_rival(latch, source, header, now);
    if ((rival || is_besieged(latch, source, now)) && needed < HNT_PROBATION)
        needed = HNT_PROBATION;
    if (needed > 1) {
        if (header.kind == HNT_RTCP && !is_media(latch, header))
            return HNT_ON_PROBATION;
        const struct hnt_contender *contender = contend(latch, source, header, now);
        if (contender == NULL)
            return HNT_RIVAL;
        if (goes_on_after_hold(latch, contender, header))
            return begin(latch, source, header, now);
        if (is_contested(latch, source, now, NULL))
            return HNT_RIVAL;
        if (rival || length_of(contender) < needed)
            return not_yet(latch, source, now);
    }
    if (latch->state == HNT_LATCHED)
        return displace(latch, source, header, now);
    return begin(latch, source, header, now);
}

/* The place of the displaced owner that this packet is of, and how many it takes for it to return; -1 for none. */
static int elder(struct hnt_latch *latch, const struct hnt_address *source, struct hnt_header header, unsigned *needed)
{
    const struct hnt_own_stream *present = hnt_owner_stream(&latch->owner, header.ssrc);
    bool late = present != NULL && !hnt_stream_carried_on(present, header, HNT_RETURN_DROPOUT);
    for (unsigned i = 0; i < latch->others->past; i++) {
        const struct hnt_owner *it = &latch->others->displaced[i];
        if (!is_sure(it) && it->spoken_s <= latch->owner.spoken_s)
            continue;
        bool at_home = hnt_same_address(source, &it->source);
        if (!late && hnt_owner_carried_on(it, header, HNT_RETURN_DROPOUT)) {
            *needed = at_home ? RETURN_PACKETS : HNT_PROBATION;
            return (int)i;
        }
        if (at_home && latch->owner.by_silence && is_sure(it)) {
            *needed = HNT_PROBATION;
            return (int)i;
        }
    }
    return -1;
}

static enum hnt_verdict return_elder(struct hnt_latch *latch, unsigned place, const struct hnt_address *source,
                                     struct hnt_header header, double now)
{
    struct hnt_others *others = latch->others;
    latch->owner = others->displaced[place];
    latch->owner.source = *source;
    others->past--;
    memmove(others->displaced + place, others->displaced + place + 1,
            (others->past - place) * sizeof *others->displaced);
    return learn(latch, header, now, HNT_RELATCHED);
}

/* RTCP, DTLS or ZRTP of another source, where RTP is what is waited for. */
static enum hnt_verdict challenge_setup(struct hnt_latch *latch, const struct hnt_address *source,
                                        struct hnt_header header, double now)
{
    struct hnt_owner *owner = &latch->owner;
    if (owner->streams > 0) {
        bool own = header.kind == HNT_RTCP && hnt_owner_stream(owner, header.ssrc) != NULL;
        return own ? HNT_ON_PROBATION : HNT_RIVAL;
    }
    if (now - latch->heard_at < HNT_SILENCE_S || !hnt_continues(owner->taught, header))
        return HNT_RIVAL;
    const struct hnt_contender *contender = contend(latch, source, header, now);
    if (contender == NULL || is_contested(latch, source, now, NULL))
        return HNT_RIVAL;
    if (length_of(contender) < HNT_PROBATION)
        return HNT_ON_PROBATION;
    return displace(latch, source, header, now);
}

/* Whether the owner is provisional, and quiet for so long that it gives way. */
static bool yields(const struct hnt_latch *latch, const struct hnt_contender *contender, double now)
{
    const struct hnt_owner *owner = &latch->owner;
    if (latch->evidence->reports)
        return owner->packets < FEW_REPORTS && quiet_s(latch, now) >= REPORTS_YIELD_S;
    if (latch->expects_nothing || is_sure(owner))
        return false;
    double quiet = now - (owner->spoke_at > latch->waits_since ? owner->spoke_at : latch->waits_since);
    if (owner->handshakes && owner->streams == 0)
        return quiet >= SETUP_YIELD_S;
    return quiet >= (contender->rival ? HNT_SILENCE_S : YIELD_S);
}

/* Whether the owner's silence is so long that any source may take its place. */
static bool lapses(const struct hnt_latch *latch, double quiet)
{
    if (latch->expects_nothing)
        return false;
    if (latch->resumed)
        return quiet >= HNT_SILENCE_S;
    return quiet >= (latch->evidence->reports ? HNT_END_S : latch->evidence->lapse_s);
}

bool hnt_latch_is_held_to_its_host(const struct hnt_latch *latch)
{
    if (latch->evidence->probation <= 1)
        return false;
    return is_sure(&latch->owner) || hnt_evidence_needs(latch->evidence, &latch->source) > 1;
}

bool hnt_latch_may_yield(const struct hnt_latch *latch, double now)
{
    if (latch->owner.streams == 0)
        return now - latch->heard_at >= HNT_SILENCE_S || now - latch->owner.spoke_at >= HNT_SILENCE_S;
    return !is_sure(&latch->owner) && now - latch->owner.spoke_at >= YIELD_S;
}

static unsigned list_ssrcs(const struct hnt_owner *owner, uint32_t *out)
{
    for (unsigned i = 0; i < owner->streams; i++)
        out[i] = owner->stream[i].ssrc;
    return owner->streams;
}

unsigned hnt_latch_known_ssrcs(const struct hnt_latch *latch, uint32_t out[HNT_MOST_KNOWN])
{
    unsigned count = list_ssrcs(&latch->owner, out);
    for (unsigned i = 0; latch->others != NULL && i < latch->others->past; i++)
        count += list_ssrcs(&latch->others->displaced[i], out + count);
    return count;
}

bool hnt_latch_has_ended(const struct hnt_latch *latch, double now)
{
    return latch->state == HNT_LATCHED && latch->ice == NULL && latch->srtp == NULL && !latch->expects_nothing &&
           quiet_s(latch, now) >= HNT_END_S;
}

/* Whether another source takes the owner's place: by its stream, or by its silence. */
static enum hnt_verdict succession(struct hnt_latch *latch, const struct hnt_contender *contender,
                                   struct hnt_header header, double now)
{
    double quiet = quiet_s(latch, now);
    const struct hnt_address source = contender->source;
    bool carries_on = hnt_owner_carried_on(&latch->owner, header, HNT_MAX_DROPOUT);
    unsigned needed = HNT_PROBATION;
    if (carries_on && now - latch->heard_at >= HNT_SILENCE_S) {
        if (is_contested(latch, &source, now, &header.ssrc))
            return HNT_RIVAL;
    } else if (yields(latch, contender, now)) {
        needed = latch->evidence->reports ? RETURN_PACKETS : HNT_PROBATION;
    } else if (!lapses(latch, quiet) || is_contested(latch, &source, now, NULL)) {
        return carries_on && contender->first_at >= latch->heard_at ? HNT_ON_PROBATION : HNT_RIVAL;
    }
    if (length_of(contender) < needed)
        return not_yet(latch, &source, now);
    if (!carries_on)
        return displace(latch, &source, header, now);
    remember_owner(latch);
    latch->owner.source = source;
    return learn(latch, header, now, HNT_RELATCHED);
}

/* A packet of another source while there is an owner. */
static enum hnt_verdict challenge(struct hnt_latch *latch, const struct hnt_address *source,
                                  struct hnt_header header, double now)
{
    unsigned needed = 0;
    if (hnt_latch_is_held_to_its_host(latch) && !hnt_same_ip(source, &latch->source))
        return HNT_RIVAL;
    if (!is_media(latch, header))
        return challenge_setup(latch, source, header, now);
    const struct hnt_contender *contender = contend(latch, source, header, now);
    if (contender == NULL)
        return HNT_RIVAL;
    int place = elder(latch, source, header, &needed);
    if (place < 0)
        return succession(latch, contender, header, now);
    if (length_of(contender) < needed)
        return HNT_ON_PROBATION;
    return return_elder(latch, (unsigned)place, source, header, now);
}

enum hnt_verdict hnt_latch_observe(struct hnt_latch *latch, const struct hnt_address *source,
                                   struct hnt_header header, double now)
{
    if (latch->evidence == NULL)
        return HNT_NOT_ARMED;
    if (isnan(latch->waits_since))
        begin_to_wait(latch, now);
    if (latch->state == HNT_LATCHED && hnt_same_address(source, &latch->source))
        return hnt_latch_heard(latch, header, now);
    if (!hnt_evidence_admits(latch->evidence, source))
        return HNT_STRANGER;
    if (!teaches(header) || (latch->evidence->reports && header.kind == HNT_RTP))
        return HNT_UNFIT;
    if (latch->state != HNT_LATCHED || hnt_latch_has_ended(latch, now))
        return audition(latch, source, header, now);
    return challenge(latch, source, header, now);
}

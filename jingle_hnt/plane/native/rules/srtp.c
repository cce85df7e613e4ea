/* Which packet's tag proves that the party has sent it (RFC 3711): twin of relay/srtp_latch.py and srtp.py. */
#include "rules/srtp.h"

#include <stdlib.h>
#include <string.h>

#define RESTART_S 0.5
#define RESTART_RTCP_S 15.0
enum { RTP_HEADER = 12, RTCP_HEADER = 8, INDEX = 4 };

/* Tags (RFC 3711 section 4.2) */

static bool is_same_key(const struct hnt_tag *a, const struct hnt_tag *b)
{
    return a->tag_bytes == b->tag_bytes && a->mki_bytes == b->mki_bytes &&
           memcmp(a->rtp, b->rtp, HNT_TAG_KEY) == 0 && memcmp(a->rtcp, b->rtcp, HNT_TAG_KEY) == 0;
}

/* How long it takes must not tell how much of a tag was right. */
static bool is_tag(const uint8_t *tag, size_t length, const uint8_t *digest)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < length; i++)
        difference |= (uint8_t)(tag[i] ^ digest[i]);
    return difference == 0;
}

static bool is_rtp_signed(const uint8_t *data, size_t length, const struct hnt_tag *key, uint32_t rollover)
{
    if (length < (size_t)RTP_HEADER + key->mki_bytes + key->tag_bytes)
        return false;
    uint8_t digest[HNT_SHA1_SIZE];
    const uint8_t counter[4] = {(uint8_t)(rollover >> 24), (uint8_t)(rollover >> 16), (uint8_t)(rollover >> 8),
                                (uint8_t)rollover};
    const struct hnt_piece pieces[] = {{data, length - key->mki_bytes - key->tag_bytes}, {counter, sizeof counter}};
    hnt_hmac_digest(&key->rtp_hmac, pieces, 2, digest);
    return is_tag(data + length - key->tag_bytes, key->tag_bytes, digest);
}

static bool has_index(size_t length, const struct hnt_tag *key)
{
    return length >= (size_t)RTCP_HEADER + INDEX + key->mki_bytes + HNT_RTCP_TAG;
}

static bool is_rtcp_signed(const uint8_t *data, size_t length, const struct hnt_tag *key)
{
    if (!has_index(length, key))
        return false;
    uint8_t digest[HNT_SHA1_SIZE];
    const struct hnt_piece piece = {data, length - key->mki_bytes - HNT_RTCP_TAG};
    hnt_hmac_digest(&key->rtcp_hmac, &piece, 1, digest);
    return is_tag(data + length - HNT_RTCP_TAG, HNT_RTCP_TAG, digest);
}

static uint64_t rtcp_index(const uint8_t *data, size_t length, const struct hnt_tag *key)
{
    if (!has_index(length, key))
        return 0;
    const uint8_t *at = data + length - key->mki_bytes - HNT_RTCP_TAG - INDEX;
    return (uint64_t)(at[0] & 0x7f) << 24 | (uint64_t)at[1] << 16 | (uint64_t)at[2] << 8 | at[3];
}

/* Streams */

/* The packet index that a sequence number means, seen from the greatest one (RFC 3711 section 3.3.1). */
static uint64_t nearest(uint64_t index, uint16_t sequence)
{
    uint64_t rollover = index >> 16;
    int last = (int)(index & 0xffff);
    if (last < 0x8000 && sequence - last > 0x8000 && rollover > 0)
        rollover--;
    else if (last >= 0x8000 && last - 0x8000 > sequence)
        rollover++;
    return (rollover & 0xffffffff) << 16 | sequence;
}

static void mark(struct hnt_numbered *stream, uint64_t index)
{
    stream->heard[index % HNT_WINDOW / 64] |= (uint64_t)1 << index % 64;
}

/* Whether a packet of this index is a replay, or too old to tell. */
static bool has_heard(const struct hnt_numbered *stream, uint64_t index)
{
    if (index > stream->index)
        return false;
    return stream->index - index >= HNT_WINDOW || (stream->heard[index % HNT_WINDOW / 64] >> index % 64 & 1);
}

/* A packet was shown to be this stream's own. */
static void hear(struct hnt_numbered *stream, uint64_t index)
{
    if (!stream->sure) { /* what came before nobody remembers */
        memset(stream->heard, 0xff, sizeof stream->heard);
        stream->index = stream->first = index;
        stream->sure = true;
        return;
    }
    if (index > stream->index && index - stream->index >= HNT_WINDOW)
        memset(stream->heard, 0, sizeof stream->heard);
    else
        for (uint64_t passed = stream->index + 1; passed < index; passed++)
            stream->heard[passed % HNT_WINDOW / 64] &= ~((uint64_t)1 << passed % 64);
    mark(stream, index);
    if (index > stream->index)
        stream->index = index;
}

static bool is_ahead(uint64_t before, uint64_t after)
{
    return after > before && after - before <= HNT_MAX_DROPOUT;
}

/* Whether a packet of a lesser index shows that the sender has lost its state. */
static bool begins_anew(struct hnt_numbered *stream, uint64_t index, double now)
{
    if (stream->index < index + HNT_WINDOW && !stream->renewed)
        return false;
    double pause = stream->kind == HNT_RTP ? RESTART_S : RESTART_RTCP_S;
    if (index >= stream->first && now - stream->fitted_at < pause && !stream->renewed)
        return false;
    bool in_order = stream->anew_packets > 0 && is_ahead(stream->anew, index);
    stream->anew = index;
    stream->anew_packets = in_order ? (uint8_t)(stream->anew_packets + 1) : 1;
    return stream->renewed || stream->anew_packets >= HNT_MISFITS;
}

/* Its numbers go on from here; the sender has lost its state for its reports as well. */
static void begin_anew(struct hnt_srtp *srtp, struct hnt_numbered *stream, uint64_t index)
{
    stream->index = index;
    memset(stream->heard, 0xff, sizeof stream->heard);
    if (index < stream->first)
        stream->first = index;
    for (unsigned i = 0; stream->kind == HNT_RTP && i < srtp->streams; i++)
        if (srtp->stream[i].kind == HNT_RTCP)
            srtp->stream[i].renewed = true;
}

static void fits(struct hnt_numbered *stream, double now)
{
    stream->fitted_at = now;
    stream->misfits = stream->anew_packets = 0;
    stream->renewed = false;
}

/* Whether the sequence number is a little ahead of the greatest index's. */
static bool goes_on(const struct hnt_numbered *stream, struct hnt_header header)
{
    uint16_t ahead = (uint16_t)(header.sequence - stream->index);
    return ahead > 0 && ahead <= HNT_MAX_DROPOUT;
}

static struct hnt_numbered *known(struct hnt_srtp *srtp, struct hnt_header header)
{
    for (unsigned i = 0; i < srtp->streams; i++)
        if (srtp->stream[i].kind == header.kind && srtp->stream[i].ssrc == header.ssrc)
            return &srtp->stream[i];
    return NULL;
}

static struct hnt_numbered *enter(struct hnt_srtp *srtp, struct hnt_header header, uint64_t index, double now,
                                  bool sure)
{
    if (srtp->streams == HNT_STREAMS)
        memmove(srtp->stream, srtp->stream + 1, --srtp->streams * sizeof srtp->stream[0]);
    struct hnt_numbered *stream = &srtp->stream[srtp->streams++];
    *stream = (struct hnt_numbered){.index = index, .first = index, .ssrc = header.ssrc, .kind = header.kind,
                                    .sure = sure, .fitted_at = now};
    mark(stream, index);
    return stream;
}

/* The index at which this key made the packet's tag. */
static bool signed_at(const struct hnt_tag *key, struct hnt_header header, const uint8_t *data, size_t length,
                      const struct hnt_numbered *stream, uint64_t *index)
{
    if (header.kind == HNT_RTCP) {
        *index = rtcp_index(data, length, key);
        return is_rtcp_signed(data, length, key);
    }
    uint32_t first = 0, count = 2;
    if (stream != NULL && stream->sure) {
        first = (uint32_t)(nearest(stream->index, header.sequence) >> 16);
        count = 1;
    } else if (stream != NULL) {
        first = stream->tried;
        count = HNT_ROLLOVERS;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (is_rtp_signed(data, length, key, first + i)) {
            *index = (uint64_t)(first + i) << 16 | header.sequence;
            return true;
        }
    }
    return false;
}

/* The key that a packet was signed with, or NULL, and its index. */
static const struct hnt_tag *signer(const struct hnt_latch *latch, struct hnt_header header, const uint8_t *data,
                                    size_t length, const struct hnt_numbered *stream, uint64_t *index)
{
    for (unsigned i = 0; i < latch->evidence->tags; i++)
        if (signed_at(&latch->evidence->tag[i], header, data, length, stream, index))
            return &latch->evidence->tag[i];
    return NULL;
}

/* The same for one of these rollover counters. */
static const struct hnt_tag *signer_at(const struct hnt_latch *latch, struct hnt_header header, const uint8_t *data,
                                       size_t length, uint32_t rollover, uint64_t *index)
{
    for (unsigned i = 0; i < latch->evidence->tags; i++) {
        if (is_rtp_signed(data, length, &latch->evidence->tag[i], rollover)) {
            *index = (uint64_t)rollover << 16 | header.sequence;
            return &latch->evidence->tag[i];
        }
    }
    return NULL;
}

/* The same where the sender may have lost count, tried where that can be believed. */
static const struct hnt_tag *signer_anew(const struct hnt_latch *latch, struct hnt_header header, const uint8_t *data,
                                         size_t length, const struct hnt_numbered *stream, uint64_t *index, double now)
{
    if (header.kind != HNT_RTP || stream->misfits < HNT_MISFITS)
        return NULL;
    bool pause = now - stream->fitted_at >= RESTART_S;
    uint64_t expected = nearest(stream->index, header.sequence) >> 16;
    const uint64_t others[] = {0, expected + 1, expected - 1};
    for (unsigned i = 0; i < (expected <= 1 ? 2 : 3); i++) {
        uint64_t rollover = others[i];
        bool lesser = rollover < expected && (pause || (rollover << 16 | header.sequence) < stream->first);
        const struct hnt_tag *key = NULL;
        if (rollover > expected || lesser)
            key = signer_at(latch, header, data, length, (uint32_t)rollover, index);
        if (key != NULL)
            return key;
    }
    return NULL;
}

/* The key that a packet from elsewhere was signed with, if it is newer than all before; else NULL. */
static const struct hnt_tag *believe(struct hnt_latch *latch, const struct hnt_address *source,
                                     struct hnt_header header, const uint8_t *data, size_t length, double now)
{
    struct hnt_srtp *srtp = latch->srtp;
    uint64_t index;
    struct hnt_numbered *stream = known(latch->srtp, header);
    struct hnt_pace *failures = &srtp->failures[stream != NULL];
    if (!hnt_pace_allows(failures, HNT_FAILURES_PER_S, HNT_FAILURES_AT_ONCE, now) &&
        !hnt_evidence_is_likely(latch->evidence, source))
        return NULL;
    const struct hnt_tag *key = signer(latch, header, data, length, stream, &index);
    bool resumed = srtp->resumed && header.kind == HNT_RTP;
    for (uint32_t rollover = 2; key == NULL && stream == NULL && resumed && rollover < HNT_RESUMED_ROLLOVERS; rollover++)
        key = signer_at(latch, header, data, length, rollover, &index);
    bool renewable = stream != NULL && stream->sure && srtp->armed_anew && header.kind == HNT_RTP &&
                     goes_on(stream, header);
    if (key == NULL && renewable)
        key = signer_at(latch, header, data, length, 0, &index);
    if (key == NULL) {
        hnt_pace_spend(failures);
        return NULL;
    }
    if (stream == NULL) {
        enter(srtp, header, index, now, true);
        srtp->resumed = srtp->resumed && !resumed;
        return key;
    }
    if (stream->sure && index <= stream->index) {
        if (!renewable || !begins_anew(stream, index, now))
            return NULL;
        begin_anew(srtp, stream, index);
    } else {
        hear(stream, index);
    }
    fits(stream, now);
    return key;
}

/* The latch */

static void learn(struct hnt_latch *latch, const struct hnt_address *source, const struct hnt_tag *key, double now)
{
    latch->state = HNT_LATCHED;
    latch->source = *source;
    latch->latched_at = latch->heard_at = now;
    latch->srtp->key = *key;
    latch->srtp->keyed = true;
    latch->srtp->armed_anew = false;
}

static bool is_kept(const struct hnt_srtp *srtp, const struct hnt_evidence *evidence)
{
    for (unsigned i = 0; srtp->keyed && i < evidence->tags; i++)
        if (is_same_key(&evidence->tag[i], &srtp->key))
            return true;
    return false;
}

bool hnt_srtp_arm(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence)
{
    if (generation <= latch->generation)
        return false;
    struct hnt_srtp *srtp = latch->srtp != NULL ? latch->srtp : calloc(1, sizeof *srtp);
    if (srtp == NULL)
        return false;
    if (!is_kept(srtp, evidence)) {
        struct hnt_srtp fresh = {.failures = {srtp->failures[0], srtp->failures[1]}};
        *srtp = fresh;
        latch->state = HNT_ARMED;
    }
    srtp->armed_anew = true;
    free(latch->evidence);
    free(latch->ice);
    latch->ice = NULL;
    latch->srtp = srtp;
    latch->evidence = evidence;
    latch->generation = generation;
    return true;
}

void hnt_srtp_resume(struct hnt_latch *latch, const struct hnt_address *source, double now)
{
    learn(latch, source, &latch->evidence->tag[0], now);
    latch->srtp->resumed = true;
}

/* Media in the learned source's name: its own, a replay, or somebody else's. */
static enum hnt_verdict follow(struct hnt_latch *latch, struct hnt_header header, const uint8_t *data, size_t length,
                               double now)
{
    struct hnt_srtp *srtp = latch->srtp;
    struct hnt_numbered *stream = known(srtp, header);
    uint64_t index;
    if (stream == NULL && header.kind == HNT_RTP && srtp->resumed) {
        srtp->resumed = false;
        stream = enter(srtp, header, header.sequence, now, false);
    }
    const struct hnt_tag *key = signer(latch, header, data, length, stream, &index);
    if (key == NULL && stream != NULL && stream->sure) {
        if (stream->misfits < HNT_MISFITS)
            stream->misfits++;
        key = signer_anew(latch, header, data, length, stream, &index, now);
    }
    if (key == NULL) {
        if (stream == NULL || stream->sure)
            return HNT_RIVAL;
        stream->tried = (stream->tried + HNT_ROLLOVERS) % HNT_MOST_ROLLOVERS;
        return HNT_PASS;
    }
    srtp->key = *key;
    if (stream == NULL) {
        enter(srtp, header, index, now, true);
        return HNT_PASS;
    }
    if (stream->sure && has_heard(stream, index)) {
        if (!begins_anew(stream, index, now))
            return HNT_UNFIT;
        begin_anew(srtp, stream, index);
    } else {
        hear(stream, index);
    }
    fits(stream, now);
    return HNT_PASS;
}

static enum hnt_verdict heard(struct hnt_latch *latch, struct hnt_header header, const uint8_t *data, size_t length,
                              double now)
{
    if (header.kind == HNT_RTP || header.kind == HNT_RTCP) {
        enum hnt_verdict verdict = follow(latch, header, data, length, now);
        if (verdict != HNT_PASS)
            return verdict;
    }
    latch->heard_at = now;
    return HNT_PASS;
}

enum hnt_verdict hnt_srtp_observe(struct hnt_latch *latch, const struct hnt_address *source,
                                  struct hnt_header header, const uint8_t *data, size_t length, double now)
{
    bool latched = latch->state == HNT_LATCHED;
    if (latched && hnt_same_address(source, &latch->source))
        return heard(latch, header, data, length, now);
    if (!hnt_evidence_admits(latch->evidence, source))
        return HNT_STRANGER;
    if (header.kind != HNT_RTP && header.kind != HNT_RTCP)
        return HNT_UNFIT;
    if (latched && now - latch->heard_at < HNT_SILENCE_S)
        return HNT_RIVAL;
    const struct hnt_tag *key = believe(latch, source, header, data, length, now);
    if (key == NULL)
        return HNT_UNFIT;
    learn(latch, source, key, now);
    return latched ? HNT_RELATCHED : HNT_LATCHED_NOW;
}

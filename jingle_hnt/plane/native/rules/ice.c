/* Which check teaches an agent's latch, and where the other agent's checks and answers go: twin of
 * relay/ice_latch.py. */
#include "rules/ice.h"

#include <stdlib.h>
#include <string.h>

/* A username that ends with a colon is that of an agent which has not said its own name yet. */
static bool is_early(const struct hnt_key *key)
{
    return key->username_length > 0 && key->username[key->username_length - 1] == ':';
}

static bool names(const struct hnt_key *key, const uint8_t *username, size_t length)
{
    bool fits = is_early(key) ? length >= key->username_length : length == key->username_length;
    return fits && memcmp(key->username, username, key->username_length) == 0;
}

/* Whether a key is of the same agent as the one before, which may have said its name meanwhile. */
static bool is_same_agents(const struct hnt_key *key, const struct hnt_key *before)
{
    return names(before, key->username, key->username_length) && key->password_length == before->password_length &&
           memcmp(key->password, before->password, key->password_length) == 0;
}

bool hnt_ice_is_early(const struct hnt_latch *latch)
{
    return latch->ice != NULL && latch->ice->keys > 0 && is_early(&latch->evidence->key[0]);
}

bool hnt_ice_arm(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence)
{
    struct hnt_ice *ice = latch->ice;
    if (generation <= latch->generation)
        return false;
    if (ice == NULL) {
        ice = calloc(1, sizeof *ice);
        if (ice == NULL)
            return false;
        ice->selected = -1;
        latch->ice = ice;
    } else if (!is_same_agents(&evidence->key[0], &latch->evidence->key[0])) {
        for (unsigned i = 0; i < ice->sources; i++)
            ice->source[i].fresh = false;
    }
    free(latch->evidence);
    free(latch->srtp);
    latch->srtp = NULL;
    latch->evidence = evidence;
    latch->generation = generation;
    latch->state = ice->selected < 0 ? HNT_ARMED : HNT_LATCHED;
    ice->keys = evidence->keys;
    return true;
}

static struct hnt_source *known(struct hnt_ice *ice, const struct hnt_address *address)
{
    for (unsigned i = 0; i < ice->sources; i++)
        if (hnt_same_address(&ice->source[i].address, address))
            return &ice->source[i];
    return NULL;
}

/* Removing keeps the order of arrival, as the Python list does: ties go to who came first. */
static void forget_source(struct hnt_ice *ice, int removed)
{
    ice->sources--;
    memmove(ice->source + removed, ice->source + removed + 1,
            (ice->sources - (unsigned)removed) * sizeof *ice->source);
}

static void make_room(struct hnt_ice *ice)
{
    int removed = -1;
    for (int i = 0; i < (int)ice->sources; i++)
        if (i != ice->selected && (removed < 0 || ice->source[i].asked_at < ice->source[removed].asked_at))
            removed = i;
    forget_source(ice, removed);
    if (ice->selected > removed)
        ice->selected--;
}

static struct hnt_source *enter(struct hnt_ice *ice, const struct hnt_address *address, double now)
{
    if (ice->sources == HNT_SOURCES)
        make_room(ice);
    struct hnt_source *source = &ice->source[ice->sources++];
    source->address = *address;
    source->first_at = source->asked_at = source->heard_at = now;
    source->fresh = true;
    return source;
}

static enum hnt_verdict select_source(struct hnt_latch *latch, struct hnt_source *source, bool nominated, double now)
{
    struct hnt_ice *ice = latch->ice;
    int index = (int)(source - ice->source), before = ice->selected;
    if (before >= 0 && index != before) {
        if (!hnt_pace_allows(&ice->moves, HNT_MOVES_PER_S, HNT_MOVES_AT_ONCE, now))
            return HNT_PASS;
        hnt_pace_spend(&ice->moves);
    }
    ice->nominated = nominated;
    if (index == before)
        return HNT_PASS;
    ice->selected = index;
    latch->state = HNT_LATCHED;
    latch->source = source->address;
    latch->latched_at = latch->heard_at = now;
    return before < 0 ? HNT_LATCHED_NOW : HNT_RELATCHED;
}

void hnt_ice_resume(struct hnt_latch *latch, const struct hnt_address *address, double now)
{
    struct hnt_source *source = known(latch->ice, address);
    select_source(latch, source != NULL ? source : enter(latch->ice, address, now), false, now);
}

static enum hnt_verdict heard(struct hnt_latch *latch, struct hnt_source *source, double now)
{
    source->heard_at = latch->heard_at = now;
    return HNT_PASS;
}

static struct hnt_asked *find_asked(struct hnt_ice *ice, const uint8_t *transaction)
{
    for (unsigned i = 0; i < ice->transactions; i++)
        if (memcmp(ice->asked[i].transaction, transaction, HNT_TRANSACTION) == 0)
            return &ice->asked[i];
    return NULL;
}

static void remember(struct hnt_ice *ice, const uint8_t *transaction, const struct hnt_address *source)
{
    struct hnt_asked *asked = find_asked(ice, transaction);
    if (asked == NULL && ice->transactions < HNT_TRANSACTIONS) {
        asked = &ice->asked[ice->transactions++];
    } else if (asked == NULL) {
        asked = &ice->asked[ice->oldest];
        ice->oldest = (ice->oldest + 1) % HNT_TRANSACTIONS;
    }
    memcpy(asked->transaction, transaction, HNT_TRANSACTION);
    asked->source = *source;
}

/* Whether a digest is worth its time. Whoever is, or may be, the party is always heard. */
static bool may_be_tried(struct hnt_latch *latch, const uint8_t *data, const struct hnt_binding_message *message,
                         const struct hnt_address *source, bool known, double now)
{
    if (!hnt_stun_is_intact(data, message))
        return false;
    bool allowed = hnt_pace_allows(&latch->ice->guesses, HNT_GUESSES_PER_S, HNT_GUESSES_AT_ONCE, now);
    return allowed || known || hnt_evidence_is_likely(latch->evidence, source);
}

/* Which of the keys made a request; -1 for none. The name is looked at first: strangers cost neither checksum nor
 * digest. Who knows a name and no password guesses, and may do so that often. */
static int signer(struct hnt_latch *latch, const uint8_t *data, const struct hnt_binding_message *message,
                  const struct hnt_address *source, bool known, double now)
{
    struct hnt_ice *ice = latch->ice;
    bool named = false;
    for (unsigned i = 0; i < ice->keys; i++) {
        const struct hnt_key *key = &latch->evidence->key[i];
        if (!names(key, message->username, message->username_length))
            continue;
        if (!named && !may_be_tried(latch, data, message, source, known, now))
            return -1;
        named = true;
        if (hnt_stun_is_signed(data, message, key->password, key->password_length))
            return (int)i;
    }
    if (named)
        hnt_pace_spend(&ice->guesses);
    return -1;
}

static bool moves_to(const struct hnt_ice *ice, const struct hnt_source *source, bool nominates, double now)
{
    if (ice->selected < 0 || nominates)
        return true;
    const struct hnt_source *selected = &ice->source[ice->selected];
    if (source == selected || now - selected->heard_at < HNT_SILENCE_S)
        return false;
    return !ice->nominated || source->first_at > selected->heard_at;
}

static enum hnt_verdict ask(struct hnt_latch *latch, struct hnt_source *source,
                            const struct hnt_binding_message *message, bool fresh, double now)
{
    source->fresh = fresh;
    source->asked_at = now;
    remember(latch->ice, message->transaction, &source->address);
    heard(latch, source, now);
    if (!moves_to(latch->ice, source, message->nominates, now))
        return HNT_PASS;
    return select_source(latch, source, message->nominates, now);
}

static enum hnt_verdict observe_stun(struct hnt_latch *latch, struct hnt_source *source,
                                     const struct hnt_address *address, const uint8_t *data, size_t length,
                                     double now)
{
    struct hnt_ice *ice = latch->ice;
    struct hnt_binding_message message;
    if (!hnt_stun_read(data, length, &message))
        return HNT_UNFIT;
    if (message.kind != HNT_REQUEST)
        return source == NULL || !hnt_stun_is_intact(data, &message) ? HNT_UNFIT : heard(latch, source, now);
    int key = signer(latch, data, &message, address, source != NULL, now);
    if (key < 0)
        return HNT_UNFIT;
    const struct hnt_asked *asked = find_asked(ice, message.transaction);
    if (asked != NULL && !hnt_same_address(&asked->source, address))
        return HNT_RIVAL;
    ice->signer = (unsigned)key;
    if (key == 0)
        ice->keys = 1;
    return ask(latch, source != NULL ? source : enter(ice, address, now), &message, key == 0, now);
}

enum hnt_verdict hnt_ice_observe(struct hnt_latch *latch, const struct hnt_address *address,
                                 struct hnt_header header, const uint8_t *data, size_t length, double now)
{
    struct hnt_source *source = known(latch->ice, address);
    if (source == NULL && !hnt_evidence_admits(latch->evidence, address))
        return HNT_STRANGER;
    if (header.kind == HNT_STUN)
        return observe_stun(latch, source, address, data, length, now);
    return source == NULL ? HNT_STRANGER : heard(latch, source, now);
}

const struct hnt_address *hnt_ice_where_to_ask(const struct hnt_latch *latch, double now)
{
    const struct hnt_ice *ice = latch->ice;
    const struct hnt_source *last = NULL;
    for (unsigned i = 0; i < ice->sources; i++) {
        const struct hnt_source *source = &ice->source[i];
        if (last == NULL || source->fresh > last->fresh ||
            (source->fresh == last->fresh && source->asked_at > last->asked_at))
            last = source;
    }
    if (last != NULL && ice->nominated && ice->selected >= 0) {
        const struct hnt_source *selected = &ice->source[ice->selected];
        if (selected->fresh == last->fresh && now - selected->heard_at < HNT_SILENCE_S)
            last = selected;
    }
    return last == NULL ? NULL : &last->address;
}

const struct hnt_address *hnt_ice_asker(const struct hnt_latch *latch, const uint8_t *transaction)
{
    const struct hnt_asked *asked = find_asked(latch->ice, transaction);
    return asked == NULL ? NULL : &asked->source;
}

void hnt_ice_keep(struct hnt_latch *latch, const uint8_t *data, size_t length)
{
    struct hnt_ice *ice = latch->ice;
    ice->kept_length = length <= sizeof ice->kept ? (uint16_t)length : 0;
    memmove(ice->kept, data, ice->kept_length);
}

bool hnt_ice_nominated(struct hnt_latch *latch, const struct hnt_address *address, double now)
{
    struct hnt_source *source = known(latch->ice, address);
    if (source == NULL)
        return false;
    return select_source(latch, source, true, now) == HNT_RELATCHED;
}

enum hnt_verdict hnt_ice_vouch(struct hnt_latch *latch, const struct hnt_address *address, bool nominates, double now)
{
    struct hnt_source *source = known(latch->ice, address);
    if (source == NULL)
        source = enter(latch->ice, address, now);
    heard(latch, source, now);
    if (!moves_to(latch->ice, source, nominates, now))
        return HNT_PASS;
    return select_source(latch, source, nominates, now);
}

void hnt_ice_lose(struct hnt_latch *latch)
{
    struct hnt_ice *ice = latch->ice;
    if (ice->selected >= 0)
        forget_source(ice, ice->selected);
    ice->selected = -1;
    ice->nominated = false;
    latch->state = HNT_ARMED;
}

/* The checks that an ICE agent of ours sends, answers and asks again (RFC 8445, 7675): twin of relay/ice_agent.py. */
#include "rules/agent.h"

#include <string.h>

#include "rules/sha1.h"

#define RETRY_S 0.2
#define LONGEST_RETRY_S 1.6

static bool is_pending(const struct hnt_target *target)
{
    return !target->valid || (target->nominates && !target->nominated);
}

static struct hnt_target *find(struct hnt_agent *agent, const struct hnt_address *address)
{
    for (unsigned i = 0; i < agent->targets; i++)
        if (hnt_same_address(&agent->target[i].address, address))
            return &agent->target[i];
    return NULL;
}

/* Keeps the order of the others, as the Python list does. */
static void drop_target(struct hnt_agent *agent, struct hnt_target *target)
{
    agent->targets--;
    memmove(target, target + 1, (size_t)(agent->target + agent->targets - target) * sizeof *target);
}

static struct hnt_target *target_of(struct hnt_agent *agent, const struct hnt_address *address, double now)
{
    struct hnt_target *target = find(agent, address);
    if (target != NULL)
        return target;
    for (unsigned i = 0; i < HNT_TARGETS && agent->targets == HNT_TARGETS; i++)
        if (!agent->target[i].valid)
            drop_target(agent, &agent->target[i]);
    if (agent->targets == HNT_TARGETS)
        return NULL;
    target = &agent->target[agent->targets++];
    memset(target, 0, sizeof *target);
    target->address = *address;
    target->proven_at = target->next_at = now;
    return target;
}

static bool is_same_bytes(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length)
{
    return a_length == b_length && memcmp(a, b, a_length) == 0;
}

void hnt_agent_arm(struct hnt_agent *agent, const struct hnt_checks *checks, double now)
{
    const struct hnt_checks *before = &agent->checks;
    if (!is_same_bytes(before->key.password, before->key.password_length, checks->key.password,
                       checks->key.password_length) ||
        !is_same_bytes(before->key.username, before->key.username_length, checks->key.username,
                       checks->key.username_length)) {
        agent->targets = agent->unasked = 0;
        agent->controlling = checks->controlling;
    }
    if (!is_same_bytes(before->secret, before->secret_length, checks->secret, checks->secret_length))
        agent->serial = 0;
    agent->checks = *checks;
    for (unsigned i = 0; i < checks->targets; i++)
        target_of(agent, &checks->target[i], now);
}

/* Settles who controls; whether it is the other agent that has to change. */
static bool is_conflict(struct hnt_agent *agent, const struct hnt_binding_message *message)
{
    if (message->role != (agent->controlling ? HNT_CONTROLLING : HNT_CONTROLLED))
        return false;
    if ((agent->checks.tie_breaker >= message->tie_breaker) == agent->controlling)
        return true;
    agent->controlling = !agent->controlling;
    return false;
}

size_t hnt_agent_answer(struct hnt_agent *agent, const struct hnt_binding_message *message,
                        const struct hnt_address *source, struct hnt_password password, double now, uint8_t *out)
{
    if (is_conflict(agent, message))
        return hnt_stun_role_conflict(out, message->transaction, password);
    struct hnt_target *target = target_of(agent, source, now);
    if (target != NULL)
        target->heard = true;
    if (target != NULL && is_pending(target)) {
        if (target->next_at > now)
            target->next_at = now;
        target->attempts %= HNT_ATTEMPTS;
    }
    return hnt_stun_success(out, message->transaction, source, password);
}

static void refuse(struct hnt_agent *agent, struct hnt_target *target, uint16_t error, double now)
{
    agent->refused++;
    target->asked = false;
    target->attempts = HNT_ATTEMPTS;
    if (error == HNT_ROLE_CONFLICT) {
        agent->controlling = !target->controlling;
        target->attempts = 0;
        target->next_at = now;
    }
}

enum hnt_answered hnt_agent_hear(struct hnt_agent *agent, const struct hnt_binding_message *message,
                                 const uint8_t *data, const struct hnt_address *source, double now)
{
    const struct hnt_key *key = &agent->checks.key;
    struct hnt_target *target = find(agent, source);
    if (target == NULL || !target->asked || memcmp(target->transaction, message->transaction, HNT_TRANSACTION) != 0)
        return HNT_NOTHING;
    if (!hnt_stun_is_signed(data, message, key->password, key->password_length)) {
        agent->refused++;
        return HNT_NOTHING;
    }
    if (message->kind != HNT_SUCCESS) {
        refuse(agent, target, message->error, now);
        return HNT_REFUSED;
    }
    agent->answered++;
    target->asked = false;
    target->attempts = 0;
    target->valid = target->heard = true;
    target->proven_at = now;
    target->nominated = target->nominated || target->nominates;
    target->next_at = now + HNT_CONSENT_S;
    return target->nominated ? HNT_NOMINATED : HNT_VALID;
}

static void nominate(struct hnt_agent *agent, double now)
{
    struct hnt_target *best = NULL;
    if (!agent->controlling)
        return;
    for (unsigned i = agent->targets; i-- > 0;) {
        if (agent->target[i].nominates)
            return;
        if (agent->target[i].valid)
            best = &agent->target[i];
    }
    if (best == NULL)
        return;
    best->nominates = true;
    best->asked = false;
    best->attempts = 0;
    best->next_at = now;
}

/* Whoever was never heard gets as many checks, together with its like, as the signalling was long that named it. */
static bool may_be_asked(const struct hnt_agent *agent, const struct hnt_target *target)
{
    return target->heard || agent->unasked < HNT_UNASKED + HNT_UNASKED_EACH * agent->checks.targets;
}

static bool is_wanted(const struct hnt_agent *agent, const struct hnt_target *target,
                      const struct hnt_address *selected)
{
    if (is_pending(target))
        return target->attempts < HNT_ATTEMPTS && may_be_asked(agent, target);
    return selected != NULL && hnt_same_address(&target->address, selected);
}

/* Transactions are made of the secret: nobody can guess them. */
static void begin_transaction(struct hnt_agent *agent, struct hnt_target *target)
{
    uint8_t serial[8], digest[HNT_SHA1_SIZE];
    agent->serial++;
    for (unsigned i = 0; i < 8; i++)
        serial[i] = (uint8_t)(agent->serial >> (56 - 8 * i));
    const struct hnt_piece whole = {serial, sizeof serial};
    hnt_hmac_sha1(agent->checks.secret, agent->checks.secret_length, &whole, 1, digest);
    memcpy(target->transaction, digest, HNT_TRANSACTION);
    target->asked = true;
}

static void ask(struct hnt_agent *agent, struct hnt_target *target, double now, struct hnt_own_check *out)
{
    const struct hnt_key *key = &agent->checks.key;
    const struct hnt_password password = {key->password, key->password_length};
    bool pending = is_pending(target);
    if (!pending || !target->asked)
        begin_transaction(agent, target);
    if (pending) {
        double wait_s = RETRY_S * (1 << target->attempts);
        target->next_at = now + (wait_s < LONGEST_RETRY_S ? wait_s : LONGEST_RETRY_S);
        target->attempts++;
    } else {
        target->next_at = now + HNT_CONSENT_S + target->transaction[0] / 128.0;
    }
    target->controlling = agent->controlling;
    agent->sent++;
    agent->unasked += !target->heard;
    out->unasked = !target->heard;
    out->to = target->address;
    out->length = hnt_stun_check(out->bytes, target->transaction, key->username, key->username_length, password,
                                 agent->controlling, agent->checks.tie_breaker,
                                 target->nominates && agent->controlling);
}

unsigned hnt_agent_tick(struct hnt_agent *agent, const struct hnt_address *selected, double now,
                        struct hnt_own_check *out)
{
    unsigned due = 0;
    struct hnt_target *chosen = selected == NULL ? NULL : target_of(agent, selected, now);
    if (chosen != NULL)
        chosen->heard = true;
    nominate(agent, now);
    for (unsigned i = 0; i < agent->targets && due < HNT_PER_TICK; i++)
        if (agent->target[i].next_at <= now && is_wanted(agent, &agent->target[i], selected))
            ask(agent, &agent->target[i], now, &out[due++]);
    return due;
}

bool hnt_agent_has_lost(struct hnt_agent *agent, const struct hnt_address *selected, double now)
{
    struct hnt_target *target = find(agent, selected);
    if (target == NULL || now - target->proven_at < HNT_CONSENT_LOST_S)
        return false;
    drop_target(agent, target);
    return true;
}

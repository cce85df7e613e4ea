/* The orders: bind, arm, gate, release, view. Finds the binding of a handle and holds its worker's lock meanwhile. */
#include "io/binding.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rules/agent.h"
#include "rules/ice.h"
#include "rules/lingering.h"
#include "rules/srtp.h"

enum {
    EARLY_PACKETS = 5, /* sent to an address never heard from, where signalling allows it */
    EARLY_BYTES = 1000,
};

struct hnt_engine *hnt_engine_new(unsigned workers, struct hnt_limits limits)
{
    struct hnt_engine *engine = calloc(1, sizeof *engine + workers * sizeof engine->worker[0]);
    if (engine == NULL)
        return NULL;
    engine->workers = workers;
    engine->limits = limits;
    engine->event_room = 256;
    engine->events = malloc(engine->event_room * sizeof *engine->events);
    engine->told = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_mutex_init(&engine->events_lock, NULL);
    pthread_mutex_init(&engine->believed.lock, NULL);
    pthread_mutex_init(&engine->heirs.lock, NULL);
    hnt_bars_init(&engine->bars);
    bool failed = engine->events == NULL || engine->told < 0;
    while (!failed && engine->started < workers) {
        failed = hnt_worker_start(engine, &engine->worker[engine->started]) < 0;
        if (failed)
            hnt_worker_dispose(&engine->worker[engine->started]);
        else
            engine->started++;
    }
    if (failed) {
        hnt_engine_free(engine);
        return NULL;
    }
    return engine;
}

/* Bindings that have drained but whose event nobody took are in the table only. */
static void free_unclaimed(struct hnt_engine *engine)
{
    for (unsigned i = 0; i < HNT_BUCKETS; i++) {
        struct binding *next;
        for (struct binding *binding = engine->table[i]; binding != NULL; binding = next) {
            next = binding->same_bucket;
            if (binding->dead)
                hnt_free_binding(binding);
        }
    }
}

void hnt_engine_free(struct hnt_engine *engine)
{
    engine->stopping = true;
    for (unsigned i = 0; i < engine->started; i++)
        hnt_worker_join(&engine->worker[i]);
    free_unclaimed(engine);
    for (unsigned i = 0; i < engine->started; i++)
        hnt_worker_dispose(&engine->worker[i]);
    for (unsigned i = 0; i < engine->event_count; i++)
        free(engine->events[i].pinholes);
    free(engine->events);
    if (engine->told >= 0)
        close(engine->told);
    pthread_mutex_destroy(&engine->lock);
    pthread_mutex_destroy(&engine->events_lock);
    pthread_mutex_destroy(&engine->believed.lock);
    hnt_heirs_clear(&engine->heirs, false);
    pthread_mutex_destroy(&engine->heirs.lock);
    hnt_bars_clear(&engine->bars);
    free(engine);
}

int hnt_engine_fileno(const struct hnt_engine *engine)
{
    return engine->told;
}

static struct binding **slot(struct hnt_engine *engine, uint64_t handle)
{
    struct binding **at = &engine->table[handle % HNT_BUCKETS];
    while (*at != NULL && (*at)->handle != handle)
        at = &(*at)->same_bucket;
    return at;
}

/* The binding with its worker locked, or NULL. `engine->lock` is held while it is looked for. */
static struct binding *lock_binding(struct hnt_engine *engine, uint64_t handle, bool released_too)
{
    pthread_mutex_lock(&engine->lock);
    struct binding *binding = *slot(engine, handle);
    if (binding != NULL)
        pthread_mutex_lock(&binding->worker->lock);
    pthread_mutex_unlock(&engine->lock);
    if (binding != NULL && (binding->dead || (binding->released && !released_too))) {
        pthread_mutex_unlock(&binding->worker->lock);
        return NULL;
    }
    return binding;
}

static struct worker *idlest(struct hnt_engine *engine)
{
    struct worker *found = &engine->worker[0];
    for (unsigned i = 1; i < engine->workers; i++)
        if (engine->worker[i].count < found->count)
            found = &engine->worker[i];
    return found;
}

static void take_in(struct hnt_engine *engine, struct binding *binding)
{
    struct worker *worker = binding->worker;
    binding->handle = ++engine->last_handle;
    binding->same_bucket = engine->table[binding->handle % HNT_BUCKETS];
    engine->table[binding->handle % HNT_BUCKETS] = binding;
    pthread_mutex_lock(&worker->lock);
    binding->next = worker->bindings;
    binding->link = &worker->bindings;
    if (binding->next != NULL)
        binding->next->link = &binding->next;
    worker->bindings = binding;
    pthread_mutex_unlock(&worker->lock);
}

int hnt_engine_bind(struct hnt_engine *engine, const struct hnt_address *bound, unsigned count,
                    uint64_t *handles, unsigned *failed)
{
    struct binding *made = NULL; /* linked by `next`, last one first */
    for (unsigned i = 0; i < count; i++) {
        unsigned side = 0;
        struct binding *binding = hnt_open_binding(idlest(engine), bound + 2 * i, &side);
        if (binding == NULL) {
            int error = errno;
            *failed = 2 * i + side;
            while (made != NULL) {
                struct binding *next = made->next;
                made->worker->count--;
                hnt_free_binding(made);
                made = next;
            }
            return error;
        }
        binding->next = made;
        made = binding;
    }
    pthread_mutex_lock(&engine->lock);
    for (unsigned i = count; i-- > 0;) {
        struct binding *next = made->next;
        take_in(engine, made);
        handles[i] = made->handle;
        made = next;
    }
    pthread_mutex_unlock(&engine->lock);
    return 0;
}

/* Arm the latch that this evidence calls for. */
static bool arm_latch(struct hnt_latch *latch, int32_t generation, struct hnt_evidence *evidence)
{
    if (evidence->keys > 0)
        return hnt_ice_arm(latch, generation, evidence);
    if (evidence->tags > 0)
        return hnt_srtp_arm(latch, generation, evidence);
    return hnt_latch_arm(latch, generation, evidence);
}

static void resume_latch(struct hnt_latch *latch, const struct hnt_address *source, const struct hnt_header *stream,
                         double now)
{
    if (latch->ice != NULL)
        hnt_ice_resume(latch, source, now);
    else if (latch->srtp != NULL)
        hnt_srtp_resume(latch, source, now);
    else
        hnt_latch_resume(latch, source, stream, now);
}

/* Takes over `*fresh` where the pinhole has no agent yet; without checks it is to have none. */
static void set_agent(struct pinhole *pinhole, struct hnt_agent **fresh, const struct hnt_checks *checks)
{
    if (checks == NULL) {
        free(pinhole->agent);
        pinhole->agent = NULL;
        return;
    }
    if (pinhole->agent == NULL) {
        pinhole->agent = *fresh;
        *fresh = NULL;
    }
    struct hnt_checks own = *checks;
    if (pinhole->latch.state == HNT_LATCHED) { /* who has asked before is asked before its candidates are */
        own.targets = checks->targets < HNT_TARGETS ? checks->targets + 1 : HNT_TARGETS;
        memcpy(own.target + 1, checks->target, (own.targets - 1) * sizeof own.target[0]);
        own.target[0] = pinhole->latch.source;
    }
    hnt_agent_arm(pinhole->agent, &own, pinhole->armed_at);
}

int hnt_engine_arm(struct hnt_engine *engine, uint64_t handle, const struct hnt_arm *order)
{
    struct binding *binding = lock_binding(engine, handle, false);
    if (binding == NULL) {
        free(order->evidence);
        return ENOENT;
    }
    struct pinhole *pinhole = &binding->pinholes[order->side];
    struct hnt_agent *agent = NULL;
    if (order->checks != NULL && pinhole->agent == NULL && (agent = calloc(1, sizeof *agent)) == NULL) {
        pthread_mutex_unlock(&binding->worker->lock);
        free(order->evidence);
        return ENOMEM;
    }
    if (order->generation > pinhole->latch.generation)
        hnt_worker_settle(binding->worker, pinhole);
    bool armed = arm_latch(&pinhole->latch, order->generation, order->evidence);
    if (armed) {
        pinhole->armed_at = hnt_monotonic();
        set_agent(pinhole, &agent, order->checks);
        pinhole->silent = false;
        pinhole->early = order->early != NULL ? *order->early : (struct hnt_address){.version = 0};
        pinhole->early_packets = EARLY_PACKETS;
        pinhole->early_bytes = EARLY_BYTES;
        if (order->resume != NULL) {
            resume_latch(&pinhole->latch, order->resume, order->stream, pinhole->armed_at);
            pinhole->proof_of = pinhole->latch.latched_at;
            pinhole->proven = true;
        }
        bool taken_up = hnt_take_up_line(pinhole);
        if (pinhole->latch.state == HNT_LATCHED && !taken_up)
            hnt_connect_line(binding->worker, pinhole);
        else if (!taken_up)
            hnt_set_door(pinhole);
        if (pinhole->agent != NULL)
            hnt_ask_due(pinhole, pinhole->armed_at);
    } else {
        free(order->evidence);
    }
    free(agent);
    pthread_mutex_unlock(&binding->worker->lock);
    return armed ? 0 : EALREADY;
}

int hnt_engine_gate(struct hnt_engine *engine, uint64_t handle, const uint8_t flows[2])
{
    struct binding *binding = lock_binding(engine, handle, false);
    if (binding == NULL)
        return ENOENT;
    for (unsigned side = 0; side < 2; side++) {
        binding->pinholes[side].flow = flows[side];
        hnt_latch_expect(&binding->pinholes[side].latch, flows[side] == HNT_OPEN);
    }
    hnt_listen(&binding->pinholes[0]);
    hnt_listen(&binding->pinholes[1]);
    double now = hnt_monotonic();
    hnt_deliver_kept(&binding->pinholes[0], now);
    hnt_deliver_kept(&binding->pinholes[1], now);
    pthread_mutex_unlock(&binding->worker->lock);
    return 0;
}

/* While it drains, the line stays and notices a stale sender; the door is shut to everybody. */
int hnt_engine_release(struct hnt_engine *engine, uint64_t handle, double linger_s)
{
    struct binding *binding = lock_binding(engine, handle, false);
    if (binding == NULL)
        return ENOENT;
    struct worker *worker = binding->worker;
    double now = hnt_monotonic();
    binding->released = true;
    binding->released_at = now;
    binding->linger_s = linger_s;
    for (unsigned side = 0; side < 2; side++) {
        const struct hnt_latch *latch = &binding->pinholes[side].latch;
        binding->pinholes[side].flow = HNT_CLOSED;
        binding->pinholes[side].busy_at =
            hnt_idle_since(latch->state == HNT_LATCHED, latch->heard_at, now, linger_s);
        hnt_set_door(&binding->pinholes[side]);
    }
    if (linger_s <= 0)
        hnt_drain(binding, now);
    pthread_mutex_unlock(&worker->lock);
    return 0;
}

int hnt_engine_view(struct hnt_engine *engine, uint64_t handle, struct hnt_view views[2], bool *draining)
{
    struct binding *binding = lock_binding(engine, handle, true);
    if (binding == NULL)
        return ENOENT;
    double now = hnt_monotonic();
    *draining = binding->released;
    hnt_pinhole_view(&binding->pinholes[0], now, &views[0]);
    hnt_pinhole_view(&binding->pinholes[1], now, &views[1]);
    pthread_mutex_unlock(&binding->worker->lock);
    return 0;
}

unsigned hnt_engine_sockets(struct hnt_engine *engine, uint64_t handle, int sockets[4])
{
    unsigned count = 0;
    struct binding *binding = lock_binding(engine, handle, false);
    if (binding == NULL)
        return 0;
    for (unsigned side = 0; side < 2; side++) {
        const int own[2] = {binding->pinholes[side].door, binding->pinholes[side].line};
        for (unsigned i = 0; i < 2; i++)
            if (own[i] >= 0 && (sockets[count] = fcntl(own[i], F_DUPFD_CLOEXEC, 0)) >= 0)
                count++;
    }
    pthread_mutex_unlock(&binding->worker->lock);
    return count;
}

void hnt_engine_inherit(struct hnt_engine *engine, int socket)
{
    hnt_heirs_add(&engine->heirs, socket);
}

void hnt_engine_disown(struct hnt_engine *engine)
{
    hnt_heirs_clear(&engine->heirs, true);
}

/* A drained binding whose event was taken: nobody can name it any more. */
static void forget(struct hnt_engine *engine, uint64_t handle)
{
    pthread_mutex_lock(&engine->lock);
    struct binding **at = slot(engine, handle), *binding = *at;
    if (binding != NULL) {
        *at = binding->same_bucket;
        pthread_mutex_lock(&binding->worker->lock);
        binding->next = binding->worker->graveyard;
        binding->worker->graveyard = binding;
        pthread_mutex_unlock(&binding->worker->lock);
    }
    pthread_mutex_unlock(&engine->lock);
}

unsigned hnt_engine_events(struct hnt_engine *engine, struct hnt_event *events, unsigned room)
{
    unsigned taken = hnt_take_events(engine, events, room);
    for (unsigned i = 0; i < taken; i++)
        if (events[i].kind == HNT_EVENT_DRAINED)
            forget(engine, events[i].handle);
    return taken;
}

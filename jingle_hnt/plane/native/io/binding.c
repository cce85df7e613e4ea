/* The sockets of a binding and what becomes of them with time: doors, lines, guards, silence, the end. */
#include "io/binding.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "rules/ice.h"
#include "rules/lingering.h"
#include "io/pinhole.h"
#include "rules/srtp.h"

#define BARS_S 10.0 /* how old a filter of barred sources gets */
#define SILENT_S 4.5
#define LISTEN_S 0.1 /* the longest that a line which was taken up waits for a gate */

double hnt_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Sockets */

static int watch(struct worker *worker, struct pinhole *pinhole, int socket, bool line)
{
    struct epoll_event event = {.events = EPOLLIN};
    event.data.u64 = (uint64_t)(uintptr_t)pinhole | (line ? 1 : 0); /* pinholes are aligned */
    return epoll_ctl(worker->epoll, EPOLL_CTL_ADD, socket, &event);
}

/* Closing alone does not end the watch of a socket that somebody else holds a copy of: what waits in it, or comes
 * later, would be told of a pinhole that is no more. */
static void close_watched(struct worker *worker, int socket)
{
    epoll_ctl(worker->epoll, EPOLL_CTL_DEL, socket, NULL);
    close(socket);
}

void hnt_hang_up(struct pinhole *pinhole)
{
    if (pinhole->line < 0)
        return;
    pinhole->counters[HNT_DROPPED_KERNEL] += hnt_socket_drops(pinhole->line);
    hnt_line_leave(pinhole->line, &pinhole->bound);
    close_watched(pinhole->binding->worker, pinhole->line);
    pinhole->line = -1;
    pinhole->line_waits = false;
}

/* Who signs what it sends may do so from anywhere at any time: what the evidence admits then, beside the learned
 * source; NULL where that is nobody. */
static const struct hnt_evidence *admits_others(const struct hnt_latch *latch)
{
    return latch->ice != NULL || latch->srtp != NULL ? latch->evidence : NULL;
}

/* Whether the door is for the learned host alone: nobody else may take its place. */
static bool is_held_to_its_host(const struct hnt_latch *latch, double now)
{
    return latch->state == HNT_LATCHED && admits_others(latch) == NULL && hnt_latch_is_held_to_its_host(latch) &&
           !hnt_latch_has_ended(latch, now);
}

/* Whether the door lets sources in of whom nothing is known, so that those that are barred are kept out there. */
static bool hears_unknown(const struct pinhole *pinhole)
{
    const struct hnt_latch *latch = &pinhole->latch;
    return !pinhole->binding->released && latch->evidence != NULL && latch->evidence->probation > 1;
}

/* The door follows the latch: shut, open to the evidence, or open to the learned host's other ports. */
void hnt_set_door(struct pinhole *pinhole)
{
    const struct hnt_latch *latch = &pinhole->latch;
    struct hnt_network barred[HNT_BARS_LISTED];
    struct hnt_bars *bars = &pinhole->binding->worker->engine->bars;
    unsigned count = 0;
    pinhole->door_narrow = pinhole->door_flooded = false;
    pinhole->door_held = is_held_to_its_host(latch, hnt_monotonic());
    if (hears_unknown(pinhole)) {
        pinhole->bars_version = bars->version;
        pinhole->door_set_at = hnt_monotonic();
        count = hnt_bars_list(bars, pinhole->bound.version, pinhole->door_set_at, barred);
    }
    pinhole->door_guarded = pinhole->guarded_strictly = false;
    if (pinhole->binding->released || latch->evidence == NULL)
        hnt_door_close_filter(pinhole->door);
    else if (hnt_evidence_is_untold(latch->evidence))
        hnt_door_filter_barred(pinhole->door, pinhole->bound.version, barred, count);
    else if (pinhole->door_held)
        hnt_door_filter_host(pinhole->door, &latch->source);
    else
        hnt_door_filter_evidence(pinhole->door, pinhole->bound.version, latch->evidence, barred, count);
}

void hnt_narrow_door(struct pinhole *pinhole)
{
    uint32_t ssrcs[HNT_MOST_KNOWN];
    const struct hnt_latch *latch = &pinhole->latch;
    unsigned count = latch->srtp == NULL ? hnt_latch_known_ssrcs(latch, ssrcs) : 0;
    const struct hnt_address *host = pinhole->door_held ? &latch->source : NULL;
    pinhole->door_narrow = true;
    hnt_door_filter_streams(pinhole->door, pinhole->bound.version, latch->evidence, host, ssrcs, count);
}

bool hnt_may_guard(const struct pinhole *pinhole)
{
    return admits_others(&pinhole->latch) != NULL;
}

static void draw(uint32_t factor[HNT_CROWD_HASHES])
{
    ssize_t length = HNT_CROWD_HASHES * sizeof factor[0];
    if (getrandom(factor, (size_t)length, GRND_NONBLOCK) != length)
        for (unsigned hash = 0; hash < HNT_CROWD_HASHES; hash++)
            factor[hash] = (uint32_t)(hnt_monotonic() * 1e9) * (2 * hash + 2654435769u);
}

void hnt_note_crowd(struct pinhole *pinhole, const struct hnt_address *source)
{
    if (pinhole->crowd == NULL) {
        uint32_t factor[HNT_CROWD_HASHES];
        draw(factor);
        pinhole->crowd = malloc(sizeof *pinhole->crowd);
        if (pinhole->crowd == NULL)
            return;
        hnt_crowd_init(pinhole->crowd, factor);
    }
    hnt_crowd_note(pinhole->crowd, source, pinhole->door_guarded ? pinhole->one_in : 1);
}

static void forget_crowd(struct pinhole *pinhole)
{
    free(pinhole->crowd);
    pinhole->crowd = NULL;
}

static void attach_guard(struct pinhole *pinhole)
{
    const struct hnt_latch *latch = &pinhole->latch;
    const struct hnt_ice *ice = latch->ice;
    struct hnt_guard guard = {.one_in = pinhole->one_in};
    for (unsigned i = 0; ice != NULL && i < ice->sources; i++)
        guard.host[guard.hosts++] = ice->source[i].address;
    for (unsigned i = 0; pinhole->agent != NULL && i < pinhole->agent->targets; i++)
        guard.host[guard.hosts++] = pinhole->agent->target[i].address;
    if (ice == NULL && latch->state == HNT_LATCHED)
        guard.host[guard.hosts++] = latch->source;
    if (ice != NULL && !pinhole->guarded_strictly) {
        guard.key = latch->evidence->key;
        guard.keys = ice->keys;
    }
    for (unsigned i = 0; latch->srtp != NULL && !pinhole->guarded_strictly && i < latch->srtp->streams; i++)
        guard.stream[guard.streams++] = latch->srtp->stream[i].ssrc;
    guard.crowded = pinhole->crowd == NULL ? NULL : &pinhole->crowd->known;
    hnt_door_guard(pinhole->door, pinhole->bound.version, latch->evidence, &guard);
}

/* Strangers crowd at a door that signed packets may come to from anywhere: let in who is, or may be, the party, and
 * whoever does not crowd; of the others some. Who shows what only the party should know is let in as well, unless
 * that is the crowd. */
void hnt_guard_door(struct pinhole *pinhole, unsigned one_in, bool strict)
{
    pinhole->door_guarded = true;
    pinhole->guarded_strictly = strict;
    pinhole->one_in = one_in;
    pinhole->rivals = 0;
    pinhole->mark_at = HNT_STRANGERS_PER_S;
    pinhole->door_drops = hnt_socket_drops(pinhole->door);
    if (pinhole->crowd != NULL)
        hnt_crowd_mark(pinhole->crowd);
    attach_guard(pinhole);
}

void hnt_widen_guard(struct pinhole *pinhole)
{
    pinhole->mark_at = pinhole->rivals + HNT_STRANGERS_PER_S;
    if (pinhole->crowd == NULL)
        return;
    hnt_crowd_mark(pinhole->crowd);
    attach_guard(pinhole);
}

static void begin_line(struct pinhole *pinhole)
{
    pinhole->line_peer = pinhole->latch.source;
    pinhole->line_is_new = true;
    pinhole->line_since = hnt_monotonic();
}

/* A line that cannot be made (no descriptors left) costs speed, not the call: the door serves alone. A line
 * that nobody reads would swallow the party's packets. */
void hnt_connect_line(struct worker *worker, struct pinhole *pinhole)
{
    const struct hnt_evidence *others = admits_others(&pinhole->latch);
    begin_line(pinhole);
    if (pinhole->line >= 0) {
        hnt_listen(pinhole);
        if (pinhole->line >= 0 && hnt_line_turn(pinhole->line, &pinhole->line_peer, others) < 0)
            hnt_hang_up(pinhole);
    } else {
        uint8_t dscp = worker->engine->limits.dscp;
        pinhole->line = hnt_line_open(pinhole->door, &pinhole->bound, &pinhole->line_peer, others, dscp);
        if (pinhole->line >= 0 && watch(worker, pinhole, pinhole->line, true) < 0)
            hnt_hang_up(pinhole);
    }
    hnt_set_door(pinhole);
}

bool hnt_take_up_line(struct pinhole *pinhole)
{
    const struct hnt_latch *latch = &pinhole->latch;
    const struct hnt_address *peer = latch->state == HNT_LATCHED ? &latch->source : NULL;
    int line = hnt_heirs_line(&pinhole->binding->worker->engine->heirs, &pinhole->bound, peer);
    if (line < 0)
        return false;
    pinhole->line = line;
    pinhole->line_waits = true;
    begin_line(pinhole);
    hnt_set_door(pinhole);
    return true;
}

void hnt_listen(struct pinhole *pinhole)
{
    if (!pinhole->line_waits)
        return;
    pinhole->line_waits = false;
    if (watch(pinhole->binding->worker, pinhole, pinhole->line, true) < 0)
        hnt_hang_up(pinhole);
}

void hnt_pinhole_view(const struct pinhole *pinhole, double now, struct hnt_view *out)
{
    const struct hnt_latch *latch = &pinhole->latch;
    memset(out, 0, sizeof *out);
    out->bound = pinhole->bound;
    out->state = latch->state;
    out->flow = pinhole->flow;
    out->generation = latch->generation;
    out->latched_s = out->heard_s = -1;
    if (latch->state == HNT_LATCHED) {
        out->learned = latch->source;
        out->latched_s = now - latch->latched_at;
        out->heard_s = now - latch->heard_at;
    }
    hnt_latch_stream(latch, &out->stream);
    out->quality = hnt_stream_quality(&pinhole->stream);
    memcpy(out->counters, pinhole->counters, sizeof out->counters);
    if (pinhole->agent != NULL) {
        out->counters[HNT_CHECKS_SENT] = pinhole->agent->sent;
        out->counters[HNT_CHECKS_ANSWERED] = pinhole->agent->answered;
        out->counters[HNT_CHECKS_REFUSED] = pinhole->agent->refused;
    }
    if (pinhole->door >= 0)
        out->counters[HNT_DROPPED_KERNEL] += hnt_socket_drops(pinhole->door);
    if (pinhole->line >= 0)
        out->counters[HNT_DROPPED_KERNEL] += hnt_socket_drops(pinhole->line);
}

/* An agent's media follows its nomination at once, the line only at the next tick. */
bool hnt_is_on_the_line(const struct pinhole *to)
{
    return to->line >= 0 && (to->latch.ice == NULL || hnt_same_address(&to->line_peer, &to->latch.source));
}

int hnt_send_to(struct pinhole *pinhole, const struct hnt_address *to, const uint8_t *data, size_t length)
{
    struct sockaddr_storage name;
    socklen_t name_length = hnt_to_sockaddr(to, &name);
    int socket = pinhole->line >= 0 ? pinhole->line : pinhole->door;
    if (sendto(socket, data, length, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&name, name_length) >= 0)
        return 0;
    pinhole->counters[HNT_DROPPED_SEND]++;
    return -1;
}

/* Time */

void hnt_drain(struct binding *binding, double now)
{
    struct hnt_event event = hnt_event_of(&binding->pinholes[0], HNT_EVENT_DRAINED);
    event.pinholes = calloc(2, sizeof *event.pinholes);
    for (unsigned side = 0; side < 2; side++) {
        struct pinhole *pinhole = &binding->pinholes[side];
        if (event.pinholes != NULL)
            hnt_pinhole_view(pinhole, now, &event.pinholes[side]);
        hnt_hang_up(pinhole);
        close_watched(binding->worker, pinhole->door);
        pinhole->door = -1;
    }
    binding->dead = true;
    *binding->link = binding->next;
    if (binding->next != NULL)
        binding->next->link = binding->link;
    binding->worker->count--;
    hnt_happened(binding->worker->engine, event);
}

static void tell_silent(struct pinhole *pinhole, double silent_s)
{
    struct hnt_event event = hnt_event_of(pinhole, HNT_EVENT_SILENT);
    if (pinhole->silent)
        return;
    event.silent_s = silent_s;
    pinhole->silent = true;
    hnt_happened(pinhole->binding->worker->engine, event);
}

/* Whether one more check may go to an address from which nothing has come. Addresses that share a place share what
 * is allowed. */
static bool may_ask(struct worker *worker, const struct hnt_address *to, double now)
{
    uint32_t hash = 2166136261u;
    for (unsigned i = 0; i < sizeof to->ip; i++)
        hash = (hash ^ to->ip[i]) * 16777619u;
    struct hnt_pace *pace = &worker->unasked[hash % HNT_BYSTANDERS];
    if (!hnt_pace_allows(pace, HNT_UNASKED_PER_S, HNT_UNASKED_AT_ONCE, now))
        return false;
    hnt_pace_spend(pace);
    return true;
}

void hnt_ask_due(struct pinhole *pinhole, double now)
{
    struct hnt_own_check checks[HNT_PER_TICK];
    const struct hnt_latch *latch = &pinhole->latch;
    const struct hnt_address *selected = latch->state == HNT_LATCHED ? &latch->source : NULL;
    unsigned due = hnt_agent_tick(pinhole->agent, selected, now, checks);
    for (unsigned i = 0; i < due; i++)
        if (!checks[i].unasked || may_ask(pinhole->binding->worker, &checks[i].to, now))
            hnt_send_to(pinhole, &checks[i].to, checks[i].bytes, checks[i].length);
}

/* The same at a tick; who has not consented for too long is forgotten, and silent for us. */
static void tick_agent(struct pinhole *pinhole, double now)
{
    struct hnt_latch *latch = &pinhole->latch;
    if (latch->state == HNT_LATCHED && hnt_agent_has_lost(pinhole->agent, &latch->source, now)) {
        tell_silent(pinhole, now - latch->heard_at);
        hnt_ice_lose(latch);
        hnt_hang_up(pinhole);
        hnt_set_door(pinhole);
    }
    hnt_ask_due(pinhole, now);
}

/* The kernel learns of new bars, and of those that have ended. */
static void tick_bars(struct pinhole *pinhole, double now)
{
    bool news = pinhole->bars_version != pinhole->binding->worker->engine->bars.version;
    bool flooded = pinhole->door_flooded && now - pinhole->rivals_since < 1.0;
    if (!flooded && (news || pinhole->door_flooded || now - pinhole->door_set_at >= BARS_S))
        hnt_set_door(pinhole);
}

/* The guard stands for as long as the kernel has strangers to turn away. */
static void tick_guard(struct pinhole *pinhole, double now)
{
    if (now - pinhole->rivals_since < 1.0)
        return;
    uint32_t drops = hnt_socket_drops(pinhole->door) - pinhole->door_drops;
    uint32_t chosen = drops / pinhole->one_in; /* of those that show nothing: about so many were let in */
    bool strict = pinhole->guarded_strictly || pinhole->rivals > chosen + chosen / 4 + 2 * HNT_STRANGERS_PER_S;
    unsigned one_in = 2;
    while (one_in < HNT_MOST_IN && one_in * HNT_STRANGERS_PER_S < drops)
        one_in *= 2;
    bool goes_on = drops + pinhole->rivals > HNT_STRANGERS_PER_S;
    pinhole->rivals_since = now;
    if (!goes_on) {
        forget_crowd(pinhole);
        hnt_set_door(pinhole);
        return;
    }
    if (pinhole->crowd != NULL) {
        uint32_t factor[HNT_CROWD_HASHES];
        draw(factor);
        hnt_crowd_turn(pinhole->crowd, factor);
    }
    hnt_guard_door(pinhole, one_in, strict);
}

enum hnt_move hnt_tick_pinhole(struct pinhole *pinhole, double now)
{
    const struct hnt_latch *latch = &pinhole->latch;
    if (pinhole->line_waits && now - pinhole->armed_at >= LISTEN_S)
        hnt_listen(pinhole);
    if (pinhole->agent != NULL && latch->ice != NULL)
        tick_agent(pinhole, now);
    if (pinhole->door_guarded)
        tick_guard(pinhole, now);
    else if (latch->state != HNT_LATCHED && hears_unknown(pinhole))
        tick_bars(pinhole, now);
    if (latch->state != HNT_LATCHED || !pinhole->moved)
        return HNT_STAYED;
    pinhole->moved = false;
    return hnt_is_on_the_line(pinhole) ? HNT_MOVED : HNT_MOVED_OFF_THE_LINE;
}

void hnt_tick_latched(struct pinhole *pinhole, enum hnt_move move, double now)
{
    const struct hnt_latch *latch = &pinhole->latch;
    if (latch->state != HNT_LATCHED)
        return;
    if (move != HNT_STAYED)
        hnt_tell_latched(pinhole, true, now);
    double silent_s = now - latch->heard_at;
    bool all = latch->srtp == NULL ? hnt_latch_may_yield(latch, now) : silent_s >= HNT_SILENCE_S;
    if (!pinhole->door_guarded && ((pinhole->door_narrow && (all || now - pinhole->rivals_since >= 1.0)) ||
        pinhole->door_held != is_held_to_its_host(latch, now)))
        hnt_set_door(pinhole);
    if (silent_s < HNT_SILENCE_S)
        hnt_tell_stream(pinhole, now);
    if (silent_s >= SILENT_S)
        tell_silent(pinhole, silent_s);
}

void hnt_tick_released(struct binding *binding, double now)
{
    struct pinhole *pinholes = binding->pinholes;
    double busy_at = pinholes[0].busy_at > pinholes[1].busy_at ? pinholes[0].busy_at : pinholes[1].busy_at;
    if (hnt_is_free(busy_at, binding->released_at, binding->linger_s,
                    binding->worker->engine->limits.linger_cap_s, now))
        hnt_drain(binding, now);
}

/* Life */

void hnt_free_binding(struct binding *binding)
{
    for (unsigned side = 0; side < 2; side++) {
        if (binding->pinholes[side].line >= 0)
            close_watched(binding->worker, binding->pinholes[side].line); /* who holds a copy keeps it as it is */
        if (binding->pinholes[side].door >= 0)
            close_watched(binding->worker, binding->pinholes[side].door);
        hnt_latch_clear(&binding->pinholes[side].latch);
        forget_crowd(&binding->pinholes[side]);
        free(binding->pinholes[side].agent);
    }
    free(binding);
}

/* Doors are shut, so the worker hears nothing of them before the binding is taken in. */
static int open_door(struct worker *worker, struct pinhole *pinhole)
{
    pinhole->door = hnt_heirs_door(&worker->engine->heirs, &pinhole->bound);
    if (pinhole->door < 0)
        pinhole->door = hnt_door_open(&pinhole->bound, worker->engine->limits.dscp);
    return pinhole->door < 0 ? -1 : watch(worker, pinhole, pinhole->door, false);
}

struct binding *hnt_open_binding(struct worker *worker, const struct hnt_address *bound, unsigned *failed)
{
    struct binding *binding = calloc(1, sizeof *binding);
    if (binding == NULL)
        return NULL;
    binding->worker = worker;
    worker->count++;
    for (unsigned side = 0; side < 2; side++) {
        struct pinhole *pinhole = &binding->pinholes[side];
        pinhole->binding = binding;
        pinhole->side = (uint8_t)side;
        pinhole->bound = bound[side];
        pinhole->door = pinhole->line = -1;
        pinhole->rivalry_told_at = -HNT_RIVALRY_EVENT_S;
        pinhole->stream_told_at = -HNT_STREAM_EVENT_S;
        hnt_latch_init(&pinhole->latch);
        hnt_stream_init(&pinhole->stream);
    }
    for (unsigned side = 0; side < 2; side++) {
        if (open_door(worker, &binding->pinholes[side]) < 0) {
            int kept = errno;
            *failed = side;
            worker->count--;
            hnt_free_binding(binding);
            errno = kept;
            return NULL;
        }
    }
    return binding;
}

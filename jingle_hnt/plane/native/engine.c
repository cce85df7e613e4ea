#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ice.h"
#include "pinhole.h"

#define TICK_S 0.1
#define SILENT_S 5.0
#define LINGER_CAP_S 600.0
#define RIVALRY_EVENT_S 1.0

enum {
    BATCH = 32,
    DATAGRAM = 65536,
    /* Buffers that began at the same offset of a page would share their first cache lines' sets. */
    STRIDE = DATAGRAM + 4096 + 192,
    ROUNDS = 4,   /* batches taken from one socket before the others have their turn */
    READY = 256,
    NOMINAL_PER_S = 20,
    EARLY_PACKETS = 5, /* sent to an address never heard from, where signalling allows it */
    EARLY_BYTES = 1000,
    RIVALS_PER_S = 200, /* past this the door is shut to rivals until the next second */
    BUCKETS = 4096,
    MAX_EVENTS = 65536, /* of the kinds that may be lost */
};

struct binding;

struct pinhole {
    struct binding *binding;
    int door, line;
    uint8_t side, flow;
    bool silent, door_shut, moved; /* moved: an agent nominated another source; told at the next tick */
    struct hnt_address bound;
    struct hnt_latch latch;
    uint32_t read_in; /* the round of the worker in which the line was last read */
    struct hnt_address line_peer; /* whom the line is connected to: the learned source, or an agent's last but one */
    struct hnt_address early; /* where packets go while nothing is learned; version 0: nowhere */
    unsigned early_packets, early_bytes;
    double armed_at, busy_at, rivalry_told_at, rivals_since;
    int64_t nominal_second;
    unsigned nominal_passed, rivals;
    uint64_t counters[HNT_COUNTERS];
};

struct binding {
    uint64_t handle;
    struct worker *worker;
    struct binding *same_bucket, *next, **link; /* of the table; of the worker's list */
    struct pinhole pinholes[2];
    double linger_s, released_at;
    bool released, dead;
};

struct worker {
    struct hnt_engine *engine;
    pthread_t thread;
    pthread_mutex_t lock;
    int epoll, wake;
    atomic_uint count; /* of live bindings; read without the lock */
    double ticked_at;
    uint32_t round; /* of epoll_wait */
    struct binding *bindings, *graveyard;
    uint8_t *memory;
    struct mmsghdr in[BATCH], out[BATCH];
    struct iovec in_vector[BATCH], out_vector[BATCH];
    struct sockaddr_storage names[BATCH], destinations[BATCH];
    socklen_t destination_lengths[BATCH]; /* 0: where the pinhole's party is */
};

struct hnt_engine {
    pthread_mutex_t lock, events_lock;
    struct binding *table[BUCKETS];
    uint64_t last_handle;
    unsigned workers, started;
    atomic_bool stopping;
    int told;
    struct hnt_event *events;
    unsigned event_count, event_room;
    struct worker worker[];
};

static double monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Events */

static void happened(struct hnt_engine *engine, struct hnt_event event)
{
    uint64_t one = 1;
    bool must_arrive = event.kind == HNT_EVENT_LATCHED || event.kind == HNT_EVENT_DRAINED;
    pthread_mutex_lock(&engine->events_lock);
    if (engine->event_count == engine->event_room && (must_arrive || engine->event_room < MAX_EVENTS)) {
        unsigned room = engine->event_room * 2;
        struct hnt_event *events = realloc(engine->events, room * sizeof *events);
        if (events != NULL) {
            engine->events = events;
            engine->event_room = room;
        }
    }
    if (engine->event_count < engine->event_room)
        engine->events[engine->event_count++] = event;
    else
        free(event.views);
    pthread_mutex_unlock(&engine->events_lock);
    if (write(engine->told, &one, sizeof one) < 0) { /* the counter is full: readable anyway */
    }
}

static struct hnt_event event_of(const struct pinhole *pinhole, enum hnt_event_kind kind)
{
    struct hnt_event event = {.handle = pinhole->binding->handle, .kind = (uint8_t)kind};
    event.side = pinhole->side;
    return event;
}

/* Pinholes */

static int watch(struct worker *worker, struct pinhole *pinhole, int socket, bool line)
{
    struct epoll_event event = {.events = EPOLLIN};
    event.data.u64 = (uint64_t)(uintptr_t)pinhole | (line ? 1 : 0); /* pinholes are aligned */
    return epoll_ctl(worker->epoll, EPOLL_CTL_ADD, socket, &event);
}

static void hang_up(struct pinhole *pinhole)
{
    if (pinhole->line < 0)
        return;
    pinhole->counters[HNT_DROPPED_KERNEL] += hnt_socket_drops(pinhole->line);
    close(pinhole->line);
    pinhole->line = -1;
}

/* The door follows the latch: shut, open to the evidence, or open to the learned host's other ports. An ICE
 * agent may send from anywhere at any time, so its door stays open to the evidence. */
static void set_door(struct pinhole *pinhole)
{
    const struct hnt_latch *latch = &pinhole->latch;
    pinhole->door_shut = false;
    if (pinhole->binding->released || latch->evidence == NULL)
        hnt_door_close_filter(pinhole->door);
    else if (latch->state == HNT_LATCHED && latch->ice == NULL)
        hnt_door_filter_host(pinhole->door, &latch->source);
    else
        hnt_door_filter_evidence(pinhole->door, pinhole->bound.version, latch->evidence);
}

/* A line that cannot be made (no descriptors left) costs speed, not the call: the door serves alone. A line
 * that nobody reads would swallow the party's packets. */
static void connect_line(struct worker *worker, struct pinhole *pinhole)
{
    hang_up(pinhole);
    pinhole->line_peer = pinhole->latch.source;
    pinhole->line = hnt_line_open(pinhole->door, &pinhole->bound, &pinhole->line_peer);
    if (pinhole->line >= 0 && watch(worker, pinhole, pinhole->line, true) < 0)
        hang_up(pinhole);
    set_door(pinhole);
}

static void view(const struct pinhole *pinhole, double now, struct hnt_view *out)
{
    const struct hnt_latch *latch = &pinhole->latch;
    memset(out, 0, sizeof *out);
    out->bound = pinhole->bound;
    out->state = latch->state;
    out->flow = pinhole->flow;
    out->generation = latch->generation;
    if (latch->state == HNT_LATCHED) {
        out->learned = latch->source;
        out->latched_s = now - latch->latched_at;
        out->heard_s = now - latch->heard_at;
    }
    memcpy(out->counters, pinhole->counters, sizeof out->counters);
    if (pinhole->door >= 0)
        out->counters[HNT_DROPPED_KERNEL] += hnt_socket_drops(pinhole->door);
    if (pinhole->line >= 0)
        out->counters[HNT_DROPPED_KERNEL] += hnt_socket_drops(pinhole->line);
}

/* Sending */

/* An agent's media follows its nomination at once, the line only at the next tick. */
static bool is_on_the_line(const struct pinhole *to)
{
    return to->line >= 0 && (to->latch.ice == NULL || hnt_same_address(&to->line_peer, &to->latch.source));
}

static void send_batch(struct worker *worker, struct pinhole *to, unsigned count)
{
    struct sockaddr_storage name;
    socklen_t length = 0;
    int socket = to->line >= 0 ? to->line : to->door;
    if (!is_on_the_line(to)) {
        length = hnt_to_sockaddr(to->latch.state == HNT_LATCHED ? &to->latch.source : &to->early, &name);
    }
    for (unsigned i = 0; i < count; i++) {
        socklen_t own = worker->destination_lengths[i];
        worker->out[i].msg_hdr.msg_name = own ? &worker->destinations[i] : length ? &name : NULL;
        worker->out[i].msg_hdr.msg_namelen = own ? own : length;
    }
    unsigned done = 0;
    bool again = false;
    while (done < count) {
        int sent = sendmmsg(socket, worker->out + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            for (int i = 0; i < sent; i++)
                to->counters[HNT_SENT_BYTES] += worker->out[done + (unsigned)i].msg_len;
            to->counters[HNT_SENT_PACKETS] += (unsigned)sent;
            done += (unsigned)sent;
            again = false;
        } else if (!again && errno != EAGAIN && errno != ENOBUFS) {
            again = true; /* maybe the ICMP error of an earlier packet: this one was not tried then */
        } else {
            to->counters[HNT_DROPPED_SEND]++;
            done++;
            again = false;
        }
    }
}

/* Receiving */

static bool is_setup(struct hnt_header header)
{
    return header.kind == HNT_STUN || header.kind == HNT_ZRTP || header.kind == HNT_DTLS;
}

static bool may_flow(struct pinhole *from, struct hnt_header header, double now)
{
    switch (from->flow) {
    case HNT_OPEN:
        return true;
    case HNT_HELD:
        return header.kind == HNT_RTCP || (from->latch.ice != NULL && is_setup(header));
    case HNT_NOMINAL: {
        int64_t second = (int64_t)now;
        if (!is_setup(header))
            return false;
        if (from->nominal_second != second) {
            from->nominal_second = second;
            from->nominal_passed = 0;
        }
        return from->nominal_passed < NOMINAL_PER_S && ++from->nominal_passed > 0;
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

static void tell_latched(struct pinhole *pinhole, bool again, double now)
{
    struct hnt_event event = event_of(pinhole, HNT_EVENT_LATCHED);
    event.source = pinhole->latch.source;
    event.generation = pinhole->latch.generation;
    event.relatched = again;
    event.seconds = now - pinhole->armed_at;
    happened(pinhole->binding->worker->engine, event);
}

static void count_rival(struct pinhole *pinhole, const struct hnt_address *source, double now)
{
    if (now - pinhole->rivalry_told_at >= RIVALRY_EVENT_S) {
        struct hnt_event event = event_of(pinhole, HNT_EVENT_RIVALRY);
        event.source = *source;
        pinhole->rivalry_told_at = now;
        happened(pinhole->binding->worker->engine, event);
    }
    if (now - pinhole->rivals_since >= 1.0) {
        pinhole->rivals_since = now;
        pinhole->rivals = 0;
    }
    if (++pinhole->rivals > RIVALS_PER_S && pinhole->latch.state == HNT_LATCHED &&
        pinhole->latch.ice == NULL && !pinhole->door_shut) {
        pinhole->door_shut = true;
        hnt_door_close_filter(pinhole->door);
    }
}

/* What the latch says; `source` is NULL on the line, where the kernel has checked it. */
static enum hnt_verdict observe(struct pinhole *pinhole, const struct hnt_address *source,
                                struct hnt_header header, const uint8_t *data, size_t length, double now)
{
    struct hnt_latch *latch = &pinhole->latch;
    if (latch->ice != NULL)
        return hnt_ice_observe(latch, source != NULL ? source : &pinhole->line_peer, header, data, length, now);
    if (source != NULL)
        return hnt_latch_observe(latch, source, header, now);
    hnt_latch_heard(latch, header, now);
    return HNT_PASS;
}

/* Where a check or an answer of one ICE agent goes at the other; NULL where nobody is to have it. */
static const struct hnt_address *destination_of_check(struct pinhole *from, struct pinhole *to,
                                                      const uint8_t *data, size_t length, double now)
{
    struct hnt_binding_message message;
    if (to->latch.ice == NULL || !hnt_stun_parse(data, length, &message))
        return NULL;
    if (message.kind == HNT_INDICATION)
        return to->latch.state == HNT_LATCHED ? &to->latch.source : NULL;
    if (message.kind != HNT_REQUEST)
        return hnt_ice_asker(&to->latch, message.transaction);
    const struct hnt_address *destination = hnt_ice_where_to_ask(&to->latch, now);
    if (destination == NULL && from->latch.ice != NULL)
        hnt_ice_keep(&from->latch, data, length);
    else if (destination != NULL && message.nominates && hnt_ice_nominated(&to->latch, destination, now))
        to->moved = true;
    return destination;
}

/* An agent is known from now on: it gets the check that waited for that. */
static void deliver_kept(struct pinhole *to, double now)
{
    struct pinhole *from = &to->binding->pinholes[1 - to->side];
    struct hnt_ice *ice = from->latch.ice;
    if (to->latch.ice == NULL || ice == NULL || ice->kept_length == 0)
        return;
    struct sockaddr_storage name;
    uint16_t length = ice->kept_length;
    const struct hnt_address *destination = destination_of_check(from, to, ice->kept, length, now);
    ice->kept_length = 0;
    if (destination == NULL)
        return;
    socklen_t name_length = hnt_to_sockaddr(destination, &name);
    if (sendto(to->line >= 0 ? to->line : to->door, ice->kept, length, MSG_DONTWAIT | MSG_NOSIGNAL,
               (struct sockaddr *)&name, name_length) < 0) {
        to->counters[HNT_DROPPED_SEND]++;
        return;
    }
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
        connect_line(pinhole->binding->worker, pinhole);
        tell_latched(pinhole, verdict == HNT_RELATCHED, now);
        if (verdict == HNT_LATCHED_NOW)
            deliver_kept(pinhole, now);
        return true;
    }
    pinhole->counters[DROP[verdict]]++;
    if (verdict == HNT_RIVAL)
        count_rival(pinhole, source, now);
    return false;
}

/* Whether a packet that may go on has somewhere to go; `*length_out` is 0 where that is the other party's
 * learned source. */
static bool find_destination(struct pinhole *from, struct pinhole *to, struct hnt_header header,
                             const uint8_t *data, size_t length, double now, struct sockaddr_storage *out,
                             socklen_t *length_out)
{
    *length_out = 0;
    if (header.kind != HNT_STUN || from->latch.ice == NULL)
        return to->latch.state == HNT_LATCHED || may_go_unasked(to, length);
    const struct hnt_address *destination = destination_of_check(from, to, data, length, now);
    if (destination == NULL)
        return false;
    *length_out = hnt_to_sockaddr(destination, out);
    return true;
}

/* Whether a packet goes on; everything about it is counted here but its sending. */
static bool judge(struct pinhole *from, const struct hnt_address *source, const uint8_t *data,
                  size_t length, double now, struct sockaddr_storage *destination,
                  socklen_t *destination_length)
{
    if (from->binding->released) {
        from->busy_at = now;
        return false;
    }
    struct pinhole *to = &from->binding->pinholes[1 - from->side];
    struct hnt_header header = hnt_classify(data, length);
    if (!is_let_in(from, source, header, data, length, now))
        return false;
    if (from->silent) {
        from->silent = false;
        happened(from->binding->worker->engine, event_of(from, HNT_EVENT_HEARD));
    }
    from->counters[HNT_RECEIVED_PACKETS]++;
    from->counters[HNT_RECEIVED_BYTES] += length;
    if (header.kind == HNT_EMPTY)
        from->counters[HNT_DROPPED_EMPTY]++;
    else if (!may_flow(from, header, now))
        from->counters[HNT_DROPPED_GATE]++;
    else if (!find_destination(from, to, header, data, length, now, destination, destination_length))
        from->counters[HNT_DROPPED_UNLATCHED]++;
    else
        return true;
    return false;
}

/* One batch of a socket; returns how many packets it had. */
static unsigned receive_batch(struct worker *worker, struct pinhole *pinhole, int socket, bool line, double now)
{
    unsigned going_on = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        worker->in[i].msg_hdr.msg_name = line ? NULL : &worker->names[i];
        worker->in[i].msg_hdr.msg_namelen = line ? 0 : sizeof worker->names[i];
    }
    int received = recvmmsg(socket, worker->in, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < received; i++) {
        struct hnt_address source;
        const uint8_t *data = worker->in_vector[i].iov_base;
        if (!line)
            hnt_from_sockaddr(&worker->names[i], &source);
        if (judge(pinhole, line ? NULL : &source, data, worker->in[i].msg_len, now,
                  &worker->destinations[going_on], &worker->destination_lengths[going_on])) {
            worker->out_vector[going_on].iov_base = worker->in_vector[i].iov_base;
            worker->out_vector[going_on++].iov_len = worker->in[i].msg_len;
        }
    }
    if (going_on > 0)
        send_batch(worker, &pinhole->binding->pinholes[1 - pinhole->side], going_on);
    return received < 0 ? 0 : (unsigned)received;
}

/* The usual case, a packet every 20 ms on a connected socket, in two plain system calls: they cost less than
 * recvmmsg and sendmmsg with a batch of one. */
static void relay_one(struct worker *worker, struct pinhole *pinhole, double now)
{
    struct pinhole *to = &pinhole->binding->pinholes[1 - pinhole->side];
    uint8_t *data = worker->in_vector[0].iov_base;
    ssize_t length = recv(pinhole->line, data, DATAGRAM, MSG_DONTWAIT);
    if (length < 0 || !judge(pinhole, NULL, data, (size_t)length, now, &worker->destinations[0],
                             &worker->destination_lengths[0]))
        return;
    if (is_on_the_line(to) && worker->destination_lengths[0] == 0 &&
        send(to->line, data, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        to->counters[HNT_SENT_PACKETS]++;
        to->counters[HNT_SENT_BYTES] += (uint64_t)length;
        return;
    }
    worker->out_vector[0].iov_base = data;
    worker->out_vector[0].iov_len = (size_t)length;
    send_batch(worker, to, 1);
}

/* Whether more than one packet may wait: the socket was ready in the round before as well. */
static bool is_bursting(struct worker *worker, struct pinhole *pinhole)
{
    bool bursting = pinhole->read_in == worker->round - 1;
    pinhole->read_in = worker->round;
    return bursting;
}

static void receive(struct worker *worker, struct pinhole *pinhole, bool line, double now)
{
    if (line && pinhole->line >= 0 && !pinhole->binding->dead && !is_bursting(worker, pinhole)) {
        relay_one(worker, pinhole, now);
        return;
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        int socket = line ? pinhole->line : pinhole->door;
        bool had_line = pinhole->line >= 0;
        if (pinhole->binding->dead || socket < 0)
            return;
        unsigned received = receive_batch(worker, pinhole, socket, line, now);
        /* What came before the line was made waits at the door and goes first. */
        bool just_latched = !line && !had_line && pinhole->line >= 0;
        if (received < BATCH && !just_latched)
            return;
    }
}

/* Time */

static void drain(struct binding *binding, double now)
{
    struct hnt_event event = {.handle = binding->handle, .kind = HNT_EVENT_DRAINED};
    event.views = calloc(2, sizeof *event.views);
    for (unsigned side = 0; side < 2; side++) {
        struct pinhole *pinhole = &binding->pinholes[side];
        if (event.views != NULL)
            view(pinhole, now, &event.views[side]);
        hang_up(pinhole);
        close(pinhole->door);
        pinhole->door = -1;
    }
    binding->dead = true;
    *binding->link = binding->next;
    if (binding->next != NULL)
        binding->next->link = binding->link;
    binding->worker->count--;
    happened(binding->worker->engine, event);
}

static void tick_pinhole(struct pinhole *pinhole, double now)
{
    const struct hnt_latch *latch = &pinhole->latch;
    if (latch->state != HNT_LATCHED)
        return;
    if (pinhole->moved) {
        pinhole->moved = false;
        if (!is_on_the_line(pinhole))
            connect_line(pinhole->binding->worker, pinhole);
        tell_latched(pinhole, true, now);
    }
    double silent_s = now - latch->heard_at;
    if (pinhole->door_shut && (silent_s >= HNT_SILENCE_S || now - pinhole->rivals_since >= 1.0))
        set_door(pinhole);
    if (silent_s >= SILENT_S && !pinhole->silent && pinhole->flow != HNT_CLOSED) {
        struct hnt_event event = event_of(pinhole, HNT_EVENT_SILENT);
        event.seconds = silent_s;
        pinhole->silent = true;
        happened(pinhole->binding->worker->engine, event);
    }
}

static void tick_binding(struct binding *binding, double now)
{
    struct pinhole *pinholes = binding->pinholes;
    if (!binding->released) {
        tick_pinhole(&pinholes[0], now);
        tick_pinhole(&pinholes[1], now);
        return;
    }
    double busy_at = pinholes[0].busy_at > pinholes[1].busy_at ? pinholes[0].busy_at : pinholes[1].busy_at;
    if (now - busy_at >= binding->linger_s || now - binding->released_at >= LINGER_CAP_S)
        drain(binding, now);
}

static void tick(struct worker *worker, double now)
{
    struct binding *next;
    worker->ticked_at = now;
    for (struct binding *binding = worker->bindings; binding != NULL; binding = next) {
        next = binding->next;
        tick_binding(binding, now);
    }
}

/* Workers */

static void free_binding(struct binding *binding)
{
    for (unsigned side = 0; side < 2; side++) {
        hang_up(&binding->pinholes[side]);
        if (binding->pinholes[side].door >= 0)
            close(binding->pinholes[side].door);
        hnt_latch_clear(&binding->pinholes[side].latch);
    }
    free(binding);
}

/* Bindings are freed between two batches only: an event of the batch may still name one. */
static void bury(struct worker *worker)
{
    while (worker->graveyard != NULL) {
        struct binding *binding = worker->graveyard;
        worker->graveyard = binding->next;
        free_binding(binding);
    }
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct epoll_event ready[READY];
    while (!worker->engine->stopping) {
        pthread_mutex_lock(&worker->lock);
        bury(worker);
        pthread_mutex_unlock(&worker->lock);
        int count = epoll_wait(worker->epoll, ready, READY, (int)(TICK_S * 1000));
        pthread_mutex_lock(&worker->lock);
        worker->round++;
        double now = monotonic(); /* not before the orders that the lock was waited for */
        for (int i = 0; i < count; i++) {
            uint64_t data = ready[i].data.u64;
            if (data != 0) /* 0 is the wake-up */
                receive(worker, (struct pinhole *)(uintptr_t)(data & ~(uint64_t)1), data & 1, now);
        }
        if (now - worker->ticked_at >= TICK_S)
            tick(worker, now);
        pthread_mutex_unlock(&worker->lock);
    }
    return NULL;
}

static int start(struct hnt_engine *engine, struct worker *worker)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    worker->engine = engine;
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    worker->memory = malloc((size_t)BATCH * STRIDE);
    pthread_mutex_init(&worker->lock, NULL);
    if (worker->epoll < 0 || worker->wake < 0 || worker->memory == NULL)
        return -1;
    for (unsigned i = 0; i < BATCH; i++) {
        worker->in_vector[i].iov_base = worker->memory + (size_t)i * STRIDE;
        worker->in_vector[i].iov_len = DATAGRAM;
        worker->in[i].msg_hdr.msg_iov = &worker->in_vector[i];
        worker->in[i].msg_hdr.msg_iovlen = 1;
        worker->out[i].msg_hdr.msg_iov = &worker->out_vector[i];
        worker->out[i].msg_hdr.msg_iovlen = 1;
    }
    epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake, &event);
    return pthread_create(&worker->thread, NULL, run, worker) == 0 ? 0 : -1;
}

static void join(struct worker *worker)
{
    uint64_t one = 1;
    if (write(worker->wake, &one, sizeof one) < 0) { /* it wakes by itself within a tick */
    }
    pthread_join(worker->thread, NULL);
}

static void dispose(struct worker *worker)
{
    bury(worker);
    while (worker->bindings != NULL) {
        struct binding *binding = worker->bindings;
        worker->bindings = binding->next;
        free_binding(binding);
    }
    if (worker->epoll >= 0)
        close(worker->epoll);
    if (worker->wake >= 0)
        close(worker->wake);
    free(worker->memory);
    pthread_mutex_destroy(&worker->lock);
}

/* The engine */

struct hnt_engine *hnt_engine_new(unsigned workers)
{
    struct hnt_engine *engine = calloc(1, sizeof *engine + workers * sizeof engine->worker[0]);
    if (engine == NULL)
        return NULL;
    engine->workers = workers;
    engine->event_room = 256;
    engine->events = malloc(engine->event_room * sizeof *engine->events);
    engine->told = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_mutex_init(&engine->events_lock, NULL);
    bool failed = engine->events == NULL || engine->told < 0;
    while (!failed && engine->started < workers) {
        failed = start(engine, &engine->worker[engine->started]) < 0;
        if (failed)
            dispose(&engine->worker[engine->started]);
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
    for (unsigned i = 0; i < BUCKETS; i++) {
        struct binding *next;
        for (struct binding *binding = engine->table[i]; binding != NULL; binding = next) {
            next = binding->same_bucket;
            if (binding->dead)
                free_binding(binding);
        }
    }
}

void hnt_engine_free(struct hnt_engine *engine)
{
    engine->stopping = true;
    for (unsigned i = 0; i < engine->started; i++)
        join(&engine->worker[i]);
    free_unclaimed(engine);
    for (unsigned i = 0; i < engine->started; i++)
        dispose(&engine->worker[i]);
    for (unsigned i = 0; i < engine->event_count; i++)
        free(engine->events[i].views);
    free(engine->events);
    if (engine->told >= 0)
        close(engine->told);
    pthread_mutex_destroy(&engine->lock);
    pthread_mutex_destroy(&engine->events_lock);
    free(engine);
}

int hnt_engine_fileno(const struct hnt_engine *engine)
{
    return engine->told;
}

static struct binding **slot(struct hnt_engine *engine, uint64_t handle)
{
    struct binding **at = &engine->table[handle % BUCKETS];
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

/* Doors are shut, so the worker hears nothing of them before the binding is taken in. */
static int open_door(struct worker *worker, struct pinhole *pinhole)
{
    pinhole->door = hnt_door_open(&pinhole->bound);
    return pinhole->door < 0 ? -1 : watch(worker, pinhole, pinhole->door, false);
}

static struct binding *open_binding(struct worker *worker, const struct hnt_address *bound, unsigned *failed)
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
        pinhole->rivalry_told_at = -RIVALRY_EVENT_S;
        hnt_latch_init(&pinhole->latch);
    }
    for (unsigned side = 0; side < 2; side++) {
        if (open_door(worker, &binding->pinholes[side]) < 0) {
            int kept = errno;
            *failed = side;
            worker->count--;
            free_binding(binding);
            errno = kept;
            return NULL;
        }
    }
    return binding;
}

static void take_in(struct hnt_engine *engine, struct binding *binding)
{
    struct worker *worker = binding->worker;
    binding->handle = ++engine->last_handle;
    binding->same_bucket = engine->table[binding->handle % BUCKETS];
    engine->table[binding->handle % BUCKETS] = binding;
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
        struct binding *binding = open_binding(idlest(engine), bound + 2 * i, &side);
        if (binding == NULL) {
            int error = errno;
            *failed = 2 * i + side;
            while (made != NULL) {
                struct binding *next = made->next;
                made->worker->count--;
                free_binding(made);
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

int hnt_engine_arm(struct hnt_engine *engine, uint64_t handle, unsigned side, int32_t generation,
                   struct hnt_evidence *evidence, const struct hnt_address *resume,
                   const struct hnt_address *early)
{
    struct binding *binding = lock_binding(engine, handle, false);
    if (binding == NULL) {
        free(evidence);
        return ENOENT;
    }
    struct pinhole *pinhole = &binding->pinholes[side];
    bool armed = evidence->keys > 0 ? hnt_ice_arm(&pinhole->latch, generation, evidence)
                                    : hnt_latch_arm(&pinhole->latch, generation, evidence);
    if (armed) {
        pinhole->armed_at = monotonic();
        pinhole->silent = false;
        pinhole->early = early != NULL ? *early : (struct hnt_address){.version = 0};
        pinhole->early_packets = EARLY_PACKETS;
        pinhole->early_bytes = EARLY_BYTES;
        hang_up(pinhole);
        if (resume != NULL && pinhole->latch.ice != NULL)
            hnt_ice_resume(&pinhole->latch, resume, pinhole->armed_at);
        else if (resume != NULL)
            hnt_latch_resume(&pinhole->latch, resume, pinhole->armed_at);
        if (pinhole->latch.state == HNT_LATCHED)
            connect_line(binding->worker, pinhole);
        else
            set_door(pinhole);
    } else {
        free(evidence);
    }
    pthread_mutex_unlock(&binding->worker->lock);
    return armed ? 0 : EALREADY;
}

int hnt_engine_gate(struct hnt_engine *engine, uint64_t handle, const uint8_t flows[2])
{
    struct binding *binding = lock_binding(engine, handle, false);
    if (binding == NULL)
        return ENOENT;
    binding->pinholes[0].flow = flows[0];
    binding->pinholes[1].flow = flows[1];
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
    double now = monotonic();
    binding->released = true;
    binding->released_at = now;
    binding->linger_s = linger_s;
    for (unsigned side = 0; side < 2; side++) {
        binding->pinholes[side].flow = HNT_CLOSED;
        binding->pinholes[side].busy_at = now;
        set_door(&binding->pinholes[side]);
    }
    if (linger_s <= 0)
        drain(binding, now);
    pthread_mutex_unlock(&worker->lock);
    return 0;
}

int hnt_engine_view(struct hnt_engine *engine, uint64_t handle, struct hnt_view views[2], bool *draining)
{
    struct binding *binding = lock_binding(engine, handle, true);
    if (binding == NULL)
        return ENOENT;
    double now = monotonic();
    *draining = binding->released;
    view(&binding->pinholes[0], now, &views[0]);
    view(&binding->pinholes[1], now, &views[1]);
    pthread_mutex_unlock(&binding->worker->lock);
    return 0;
}

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
    uint64_t count, one = 1;
    if (read(engine->told, &count, sizeof count) < 0) { /* nothing was told since */
    }
    pthread_mutex_lock(&engine->events_lock);
    unsigned taken = engine->event_count < room ? engine->event_count : room;
    memcpy(events, engine->events, taken * sizeof *events);
    engine->event_count -= taken;
    memmove(engine->events, engine->events + taken, engine->event_count * sizeof *events);
    bool more = engine->event_count > 0;
    pthread_mutex_unlock(&engine->events_lock);
    if (more && write(engine->told, &one, sizeof one) < 0) { /* it stays readable */
    }
    for (unsigned i = 0; i < taken; i++)
        if (events[i].kind == HNT_EVENT_DRAINED)
            forget(engine, events[i].handle);
    return taken;
}

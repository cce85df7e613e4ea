/* A thread: waits for sockets, reads batches, has them judged, sends what goes on, and ticks its bindings. */
#include "io/binding.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "io/pinhole.h"

/* How long a packet for the line that the kernel had under way while it was connected may take to be queued. */
#define NEW_S 1.0

enum {
    TICK_NS = 100000000,
    DATAGRAM = 65536,
    /* Buffers that began at the same offset of a page would share their first cache lines' sets. */
    STRIDE = DATAGRAM + 4096 + 192,
    ROUNDS = 4, /* batches taken from one socket before the others have their turn */
    READY = 256,
};

/* Sending */

static void send_batch(struct worker *worker, struct pinhole *to, unsigned count)
{
    struct sockaddr_storage name;
    socklen_t length = 0;
    int socket = to->line >= 0 ? to->line : to->door;
    if (!hnt_is_on_the_line(to)) {
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

/* One batch of a socket; returns how many packets it had. A line that is not new has its peer's packets only: the
 * kernel saw to that. */
static unsigned receive_batch(struct worker *worker, struct pinhole *pinhole, int socket, bool line, double now)
{
    unsigned going_on = 0;
    bool named = !line || pinhole->line_is_new;
    for (unsigned i = 0; i < HNT_BATCH; i++) {
        worker->in[i].msg_hdr.msg_name = named ? &worker->names[i] : NULL;
        worker->in[i].msg_hdr.msg_namelen = named ? sizeof worker->names[i] : 0;
    }
    int received = recvmmsg(socket, worker->in, HNT_BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < received; i++) {
        struct hnt_address source;
        const uint8_t *data = worker->in_vector[i].iov_base;
        if (named)
            hnt_from_sockaddr(&worker->names[i], &source);
        bool peers = line && (!named || hnt_same_address(&source, &pinhole->line_peer));
        if (hnt_judge(pinhole, peers ? NULL : &source, data, worker->in[i].msg_len, now,
                  &worker->destinations[going_on], &worker->destination_lengths[going_on])) {
            worker->out_vector[going_on].iov_base = worker->in_vector[i].iov_base;
            worker->out_vector[going_on++].iov_len = worker->in[i].msg_len;
        }
    }
    if (line && received > 0 && received < HNT_BATCH && now - pinhole->line_since >= NEW_S)
        pinhole->line_is_new = false;
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
    if (length < 0 || !hnt_judge(pinhole, NULL, data, (size_t)length, now, &worker->destinations[0],
                             &worker->destination_lengths[0]))
        return;
    if (hnt_is_on_the_line(to) && worker->destination_lengths[0] == 0 &&
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

static void receive_all(struct worker *worker, struct pinhole *pinhole, bool line, double now)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        int socket = line ? pinhole->line : pinhole->door;
        bool had_line = pinhole->line >= 0;
        if (pinhole->binding->dead || socket < 0)
            return;
        unsigned received = receive_batch(worker, pinhole, socket, line, now);
        /* What came before the line was made waits at the door and goes first. */
        bool just_latched = !line && !had_line && pinhole->line >= 0;
        if (received < HNT_BATCH && !just_latched)
            return;
    }
}

static void receive(struct worker *worker, struct pinhole *pinhole, bool line, double now)
{
    if (line && pinhole->line >= 0 && !pinhole->line_is_new && !pinhole->binding->dead &&
        !is_bursting(worker, pinhole))
        relay_one(worker, pinhole, now);
    else
        receive_all(worker, pinhole, line, now);
}

/* Connect the line to the learned source, once what waits at it is relayed. Not while packets are judged: it uses
 * their memory. */
static void follow(struct worker *worker, struct pinhole *pinhole, double now)
{
    receive_all(worker, pinhole, true, now);
    hnt_connect_line(worker, pinhole);
    receive_all(worker, pinhole, false, now);
}

void hnt_worker_settle(struct worker *worker, struct pinhole *pinhole)
{
    struct pinhole *other = &pinhole->binding->pinholes[1 - pinhole->side];
    double now = hnt_monotonic();
    if (pinhole->latch.state == HNT_LATCHED)
        receive_all(worker, other, other->line >= 0, now);
    if (pinhole->line < 0)
        return;
    hnt_line_leave(pinhole->line, &pinhole->bound);
    receive_all(worker, pinhole, true, now);
    hnt_hang_up(pinhole);
}

/* The thread */

static void tick_binding(struct worker *worker, struct binding *binding, double now)
{
    if (binding->released) {
        hnt_tick_released(binding, now);
        return;
    }
    for (unsigned side = 0; side < 2; side++) {
        struct pinhole *pinhole = &binding->pinholes[side];
        enum hnt_move move = hnt_tick_pinhole(pinhole, now);
        if (move == HNT_MOVED_OFF_THE_LINE)
            follow(worker, pinhole, now);
        hnt_tick_latched(pinhole, move, now);
    }
}

static void tick(struct worker *worker, double now)
{
    struct binding *next;
    uint64_t times;
    if (read(worker->clock, &times, sizeof times) < 0)
        return;
    for (struct binding *binding = worker->bindings; binding != NULL; binding = next) {
        next = binding->next;
        tick_binding(worker, binding, now);
    }
}

/* Bindings are freed after a batch only, not while an event of it may still name one: the watch of their sockets
 * was ended before, so the next batch does not. */
static void bury(struct worker *worker)
{
    while (worker->graveyard != NULL) {
        struct binding *binding = worker->graveyard;
        worker->graveyard = binding->next;
        hnt_free_binding(binding);
    }
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct epoll_event ready[READY];
    while (!worker->engine->stopping) {
        /* Without a timeout: setting a timer up for each wait is dear, the most so in a virtual machine. */
        int count = epoll_wait(worker->epoll, ready, READY, -1);
        pthread_mutex_lock(&worker->lock);
        worker->round++;
        double now = hnt_monotonic(); /* not before the orders that the lock was waited for */
        for (int i = 0; i < count; i++) {
            uint64_t data = ready[i].data.u64;
            if (data == 0) /* the clock, or the wake-up */
                tick(worker, now);
            else
                receive(worker, (struct pinhole *)(uintptr_t)(data & ~(uint64_t)1), data & 1, now);
        }
        bury(worker);
        pthread_mutex_unlock(&worker->lock);
    }
    return NULL;
}

static int open_clock(void)
{
    struct timespec each = {.tv_nsec = TICK_NS};
    struct itimerspec ticks = {.it_interval = each, .it_value = each};
    int clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (clock >= 0)
        timerfd_settime(clock, 0, &ticks, NULL);
    return clock;
}

int hnt_worker_start(struct hnt_engine *engine, struct worker *worker)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    worker->engine = engine;
    worker->clock = open_clock();
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    worker->memory = malloc((size_t)HNT_BATCH * STRIDE);
    pthread_mutex_init(&worker->lock, NULL);
    if (worker->epoll < 0 || worker->wake < 0 || worker->clock < 0 || worker->memory == NULL)
        return -1;
    for (unsigned i = 0; i < HNT_BATCH; i++) {
        worker->in_vector[i].iov_base = worker->memory + (size_t)i * STRIDE;
        worker->in_vector[i].iov_len = DATAGRAM;
        worker->in[i].msg_hdr.msg_iov = &worker->in_vector[i];
        worker->in[i].msg_hdr.msg_iovlen = 1;
        worker->out[i].msg_hdr.msg_iov = &worker->out_vector[i];
        worker->out[i].msg_hdr.msg_iovlen = 1;
    }
    if (epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake, &event) < 0 ||
        epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->clock, &event) < 0)
        return -1;
    return pthread_create(&worker->thread, NULL, run, worker) == 0 ? 0 : -1;
}

void hnt_worker_join(struct worker *worker)
{
    uint64_t one = 1;
    if (write(worker->wake, &one, sizeof one) < 0) { /* it wakes by its clock */
    }
    pthread_join(worker->thread, NULL);
}

void hnt_worker_dispose(struct worker *worker)
{
    bury(worker);
    while (worker->bindings != NULL) {
        struct binding *binding = worker->bindings;
        worker->bindings = binding->next;
        hnt_free_binding(binding);
    }
    if (worker->epoll >= 0)
        close(worker->epoll);
    if (worker->wake >= 0)
        close(worker->wake);
    if (worker->clock >= 0)
        close(worker->clock);
    free(worker->memory);
    pthread_mutex_destroy(&worker->lock);
}

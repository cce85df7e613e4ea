/* What the native engine is made of: pinholes, bindings, workers, and what its parts ask of each other.
 *
 * engine.c has the orders, worker.c the threads and the batches, judge.c what becomes of a packet, binding.c
 * sockets and time, event.c what the other side of the seam is told. All of it but the orders and the events
 * runs with the worker's lock held. */
#ifndef HNT_BINDING_H
#define HNT_BINDING_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "rules/agent.h"
#include "rules/bars.h"
#include "io/engine.h"
#include "io/heirs.h"
#include "rules/ice.h"
#include "rules/quality.h"

#define HNT_RIVALRY_EVENT_S 1.0
#define HNT_STREAM_EVENT_S 1.0

#define HNT_UNASKED_PER_S 10.0
#define HNT_UNASKED_AT_ONCE 20.0

enum {
    HNT_BATCH = 32,
    HNT_BUCKETS = 4096,
    HNT_BELIEVED = 1 << 16,
    HNT_BYSTANDERS = 1024,
    HNT_STRANGERS_PER_S = 500, /* past this it lets in so many of those whom a signature may yet prove */
    HNT_FIRST_IN = 16, HNT_MOST_IN = 4096, /* one of so many */
    HNT_UNPROVEN = 240, /* packets that a source gets for one of its own, before it is proven */
};

#define HNT_PROVEN_S 1.0

struct binding;

struct pinhole {
    struct binding *binding;
    int door, line;
    uint8_t side, flow;
    bool line_waits; /* a line that was taken up: not read before both sides and the gate are set */
    bool line_is_new; /* others than its peer may still be heard on it (hnt_line_filter) */
    bool silent, moved; /* moved: an agent nominated another source; told at the next tick */
    bool door_narrow; /* a flood: others are heard by the streams that are known only */
    bool door_flooded; /* nobody was told of the port, and too much comes there */
    bool door_held;   /* to the learned host: nobody else may take its place */
    bool door_guarded; /* strangers crowd where a signature is expected */
    bool guarded_strictly; /* past who shows what only the party should know */
    bool proven; /* the learned source goes on sending: it is no bystander */
    unsigned unproven_left;
    double proof_of; /* when that source was learned */
    unsigned one_in; /* of who crowds that the guard lets in */
    unsigned mark_at; /* so many rivals show that others crowd as well */
    struct hnt_crowd *crowd; /* owned; NULL until there are many strangers, or for want of memory */
    uint32_t door_drops; /* of the kernel, when strangers were shut out */
    struct hnt_address bound;
    struct hnt_latch latch;
    struct hnt_agent *agent; /* owned; NULL unless ICE ends here (agent.h) */
    bool has_told_stream;
    uint32_t told_stream; /* the SSRC */
    uint32_t read_in; /* the round of the worker in which the line was last read */
    struct hnt_address line_peer; /* whom the line is connected to: the learned source, or an agent's last but one */
    struct hnt_address early; /* where packets go while nothing is learned; version 0: nowhere */
    unsigned early_packets, early_bytes;
    double line_since, armed_at, busy_at, rivalry_told_at, stream_told_at, rivals_since, door_set_at;
    unsigned bars_version; /* of the bars that the door's filter has */
    int64_t nominal_second;
    unsigned nominal_passed, nominal_bytes, rivals;
    struct hnt_bucket bucket;
    struct hnt_stream stream; /* what its party sends */
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
    int epoll, wake, clock;
    atomic_uint count; /* of live bindings; read without the lock */
    uint32_t round; /* of epoll_wait */
    struct hnt_pace unasked[HNT_BYSTANDERS]; /* checks to who was never heard, by the address */
    struct binding *bindings, *graveyard;
    uint8_t *memory;
    struct mmsghdr in[HNT_BATCH], out[HNT_BATCH];
    struct iovec in_vector[HNT_BATCH], out_vector[HNT_BATCH];
    struct sockaddr_storage names[HNT_BATCH], destinations[HNT_BATCH];
    socklen_t destination_lengths[HNT_BATCH]; /* 0: where the pinhole's party is */
};

/* The checks that pinholes have believed, by how their transactions begin; a later one takes the place. */
struct hnt_believed {
    pthread_mutex_t lock;
    struct hnt_asked slot[HNT_BELIEVED];
};

struct hnt_engine {
    pthread_mutex_t lock, events_lock;
    struct hnt_believed believed;
    struct hnt_heirs heirs;
    struct hnt_bars bars;
    struct binding *table[HNT_BUCKETS];
    uint64_t last_handle;
    unsigned workers, started;
    struct hnt_limits limits;
    atomic_bool stopping;
    int told;
    struct hnt_event *events;
    unsigned event_count, event_room;
    struct worker worker[];
};

double hnt_monotonic(void);

/* event.c */

void hnt_happened(struct hnt_engine *engine, struct hnt_event event);
struct hnt_event hnt_event_of(const struct pinhole *pinhole, enum hnt_event_kind kind);
void hnt_tell_latched(struct pinhole *pinhole, bool again, double now);
/* Tell what the learned source sends, where that is another stream than was told. */
void hnt_tell_stream(struct pinhole *pinhole, double now);
/* Take up to `room` events, oldest first. */
unsigned hnt_take_events(struct hnt_engine *engine, struct hnt_event *events, unsigned room);

/* binding.c */

/* A binding that no table or worker knows yet; NULL with errno and `*failed`, the side that could not be. */
struct binding *hnt_open_binding(struct worker *worker, const struct hnt_address *bound, unsigned *failed);
void hnt_free_binding(struct binding *binding);
void hnt_hang_up(struct pinhole *pinhole);
void hnt_set_door(struct pinhole *pinhole);
/* A flood is left to the kernel: others are heard by the streams that are known only. */
void hnt_narrow_door(struct pinhole *pinhole);
/* Whether strangers can be told from the party by the kernel, as `hnt_guard_door` has it do. */
bool hnt_may_guard(const struct pinhole *pinhole);
/* One more of many strangers: counted by where it comes from. */
void hnt_note_crowd(struct pinhole *pinhole, const struct hnt_address *source);
/* More who crowd than the guard knows of. */
void hnt_widen_guard(struct pinhole *pinhole);
void hnt_guard_door(struct pinhole *pinhole, unsigned one_in, bool strict);
/* Send to anybody from this pinhole; -1 where the kernel refused, which is counted. */
int hnt_send_to(struct pinhole *pinhole, const struct hnt_address *to, const uint8_t *data, size_t length);
/* Connect the line, a new one where there is none, to the learned source. */
void hnt_connect_line(struct worker *worker, struct pinhole *pinhole);
/* Use the line that an earlier life left to the learned source; false where there is none. */
bool hnt_take_up_line(struct pinhole *pinhole);
/* Begin to read a line that was taken up. */
void hnt_listen(struct pinhole *pinhole);
bool hnt_is_on_the_line(const struct pinhole *to);
void hnt_pinhole_view(const struct pinhole *pinhole, double now, struct hnt_view *out);
void hnt_drain(struct binding *binding, double now);
/* What a tick has found of the learned source: where it left the line, the caller lets that follow. */
enum hnt_move { HNT_STAYED, HNT_MOVED, HNT_MOVED_OFF_THE_LINE };
/* The two halves of a tick of a binding that was not released; `move` is what the first has returned. */
enum hnt_move hnt_tick_pinhole(struct pinhole *pinhole, double now);
void hnt_tick_latched(struct pinhole *pinhole, enum hnt_move move, double now);
/* The tick of one that was: drained once its ports are free. */
void hnt_tick_released(struct binding *binding, double now);
/* What our own agent, which there must be, has to ask now. */
void hnt_ask_due(struct pinhole *pinhole, double now);

/* judge.c */

/* Whether a packet goes on; everything about it is counted here but its sending. `source` is NULL on the
 * line, `*destination_length` 0 where the packet goes to the other party's learned source. */
bool hnt_judge(struct pinhole *from, const struct hnt_address *source, const uint8_t *data, size_t length,
               double now, struct sockaddr_storage *destination, socklen_t *destination_length);
/* An agent is known, or may be asked, by now: it gets the check that waited for that. */
void hnt_deliver_kept(struct pinhole *to, double now);

/* worker.c */

/* Starts a thread; -1 where that failed, and the worker is to be disposed of. */
int hnt_worker_start(struct hnt_engine *engine, struct worker *worker);
void hnt_worker_join(struct worker *worker);
/* Relay what has come by now, from a party and for it, and give its line up: its latch is to be armed anew. Not
 * while packets are judged: it uses their memory. The worker's lock is held. */
void hnt_worker_settle(struct worker *worker, struct pinhole *pinhole);
void hnt_worker_dispose(struct worker *worker);

#endif

/* The native engine: bindings on worker threads, moved without Python.
 *
 * Every binding belongs to one worker, whose lock is held for a batch of packets or for one order. Orders
 * never wait for the network. Handles name bindings; a handle is never used twice. */
#ifndef HNT_ENGINE_H
#define HNT_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "rules/latch.h"
#include "rules/policing.h"
#include "rules/quality.h"

enum hnt_flow { HNT_CLOSED = 0, HNT_NOMINAL = 1, HNT_HELD = 2, HNT_OPEN = 3, HNT_WAITING = 4, HNT_HOLDING = 5 };

/* The order is that of the fields of `Counters` in jingle_hnt/relay/binding.py. */
enum hnt_counter {
    HNT_RECEIVED_PACKETS,
    HNT_RECEIVED_BYTES,
    HNT_SENT_PACKETS,
    HNT_SENT_BYTES,
    HNT_DROPPED_SHUT,
    HNT_DROPPED_STRANGER,
    HNT_DROPPED_UNFIT,
    HNT_DROPPED_PROBATION,
    HNT_DROPPED_RIVAL,
    HNT_DROPPED_GATE,
    HNT_DROPPED_POLICED,
    HNT_DROPPED_UNLATCHED,
    HNT_DROPPED_EMPTY,
    HNT_DROPPED_SEND,
    HNT_DROPPED_KERNEL,
    HNT_CHECKS_SENT, /* these three are the agent's own */
    HNT_CHECKS_ANSWERED,
    HNT_CHECKS_REFUSED,
    HNT_COUNTERS,
};

struct hnt_view {
    struct hnt_address bound, learned;
    uint8_t state, flow;
    int32_t generation;
    double latched_s, heard_s;
    uint64_t counters[HNT_COUNTERS];
    struct hnt_quality quality;
    struct hnt_header stream; /* what the learned source sent last; HNT_EMPTY where that is not known */
};

enum hnt_event_kind { HNT_EVENT_LATCHED, HNT_EVENT_RIVALRY, HNT_EVENT_SILENT, HNT_EVENT_HEARD, HNT_EVENT_DRAINED,
                      HNT_EVENT_STREAM };

struct hnt_event {
    uint64_t handle;
    struct hnt_address source;
    double seconds; /* after_s of a latch, silent_s of a silence */
    int32_t generation;
    uint8_t kind, side;
    bool relatched;
    struct hnt_header stream; /* of a latch and a stream; HNT_EMPTY where that is not known */
    struct hnt_view *views; /* two, owned by the event; of a drained binding only */
};

struct hnt_engine;
struct hnt_checks;

struct hnt_engine *hnt_engine_new(unsigned workers, struct hnt_limits limits);
void hnt_engine_free(struct hnt_engine *engine);

/* Make `count` bindings on pairs of addresses, or none. Returns 0, or an errno with `*failed` naming the
 * address (two per binding). */
int hnt_engine_bind(struct hnt_engine *engine, const struct hnt_address *bound, unsigned count,
                    uint64_t *handles, unsigned *failed);

/* These return 0, or ENOENT for a handle that is not, or no longer, of a live binding. `arm` takes over the
 * evidence whatever it returns, where `stream` is what a view told of the learned source that it resumes, or NULL, and returns EALREADY where the generation is not greater. With `checks`, which
 * belong to evidence with keys, the engine is an ICE agent towards that side. */
int hnt_engine_arm(struct hnt_engine *engine, uint64_t handle, unsigned side, int32_t generation,
                   struct hnt_evidence *evidence, const struct hnt_address *resume,
                   const struct hnt_header *stream, const struct hnt_address *early, const struct hnt_checks *checks);
int hnt_engine_gate(struct hnt_engine *engine, uint64_t handle, const uint8_t flows[2]);
int hnt_engine_release(struct hnt_engine *engine, uint64_t handle, double linger_s);
int hnt_engine_view(struct hnt_engine *engine, uint64_t handle, struct hnt_view views[2], bool *draining);

/* Copies of a live binding's sockets, doors and lines, for somebody to hold; returns how many. */
unsigned hnt_engine_sockets(struct hnt_engine *engine, uint64_t handle, int sockets[4]);
/* Take over a socket that an earlier life had; the binding of its address will use it. */
void hnt_engine_inherit(struct hnt_engine *engine, int socket);
/* Close what was inherited and not used. */
void hnt_engine_disown(struct hnt_engine *engine);

/* Take up to `room` events, oldest first; frees what belongs to drained bindings. */
unsigned hnt_engine_events(struct hnt_engine *engine, struct hnt_event *events, unsigned room);
int hnt_engine_fileno(const struct hnt_engine *engine);

#endif

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

struct hnt_view {
    struct hnt_address bound, learned;
    uint8_t state, flow;
    int32_t generation;
    double latched_s, heard_s; /* -1 where nothing is learned */
    uint64_t counters[HNT_COUNTERS];
    struct hnt_quality quality;
    struct hnt_header stream; /* what the learned source sent last; HNT_EMPTY where that is not known */
};

struct hnt_event {
    uint64_t handle;
    struct hnt_address source;
    double after_s, silent_s; /* of a latch, of a silence */
    int32_t generation;
    uint8_t kind, side;
    bool relatched;
    struct hnt_header stream; /* of a latch and a stream; HNT_EMPTY where that is not known */
    struct hnt_view *pinholes; /* two, owned by the event; of a drained binding only */
};

struct hnt_engine;
struct hnt_checks;

/* An order to arm: what is not there is NULL. */
struct hnt_arm {
    unsigned side;
    int32_t generation;
    struct hnt_evidence *evidence;
    const struct hnt_address *resume, *early;
    const struct hnt_header *stream; /* what a view told of the learned source that it resumes */
    const struct hnt_checks *checks; /* they belong to evidence with keys; the engine is an ICE agent then */
};

struct hnt_engine *hnt_engine_new(unsigned workers, struct hnt_limits limits);
void hnt_engine_free(struct hnt_engine *engine);

/* Make `count` bindings on pairs of addresses, or none. Returns 0, or an errno with `*failed` naming the
 * address (two per binding). */
int hnt_engine_bind(struct hnt_engine *engine, const struct hnt_address *bound, unsigned count,
                    uint64_t *handles, unsigned *failed);

/* These return 0, or ENOENT for a handle that is not, or no longer, of a live binding. `arm` takes over the
 * evidence whatever it returns, and returns EALREADY where the generation is not greater. */
int hnt_engine_arm(struct hnt_engine *engine, uint64_t handle, const struct hnt_arm *order);
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

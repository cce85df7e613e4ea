/* Fields, numbers and bounds that the engine shares with Python. Made by scripts/records.py from
 * jingle_hnt/plane/records.py; do not edit. HNT_X_FIELDS(FIELD) lists FIELD(name, kind). */
#ifndef HNT_RECORDS_H
#define HNT_RECORDS_H

#define HNT_RECORDS "469183ec19b05435"

enum hnt_flow {
    HNT_CLOSED = 0,
    HNT_NOMINAL = 1,
    HNT_HELD = 2,
    HNT_OPEN = 3,
    HNT_WAITING = 4,
    HNT_HOLDING = 5,
};

enum hnt_state {
    HNT_SHUT = 0,
    HNT_ARMED = 1,
    HNT_LATCHED = 2,
};

enum hnt_event_kind {
    HNT_EVENT_LATCHED,
    HNT_EVENT_STREAM,
    HNT_EVENT_RIVALRY,
    HNT_EVENT_SILENT,
    HNT_EVENT_HEARD,
    HNT_EVENT_DRAINED,
};

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
    HNT_CHECKS_SENT,
    HNT_CHECKS_ANSWERED,
    HNT_CHECKS_REFUSED,
    HNT_COUNTERS,
};

enum {
    HNT_MAX_NETWORKS = 4096,
    HNT_MAX_KEYS = 4,
    HNT_MAX_TAGS = 16,
    HNT_MAX_USERNAME = 513,
    HNT_MAX_PASSWORD = 256,
    HNT_TARGETS = 16,
};

#define HNT_ARM_FIELDS(FIELD) \
    FIELD(side, int) \
    FIELD(generation, int) \
    FIELD(sources, networks) \
    FIELD(refused, networks) \
    FIELD(probation, int) \
    FIELD(keys, keys) \
    FIELD(several, bool) \
    FIELD(tags, tags) \
    FIELD(likely, networks) \
    FIELD(reports, bool) \
    FIELD(lapse_s, float) \
    FIELD(events, bytes) \
    FIELD(resume, address) \
    FIELD(early, address) \
    FIELD(checks, checks) \
    FIELD(stream, stream)

#define HNT_CHECKS_FIELDS(FIELD) \
    FIELD(username, text) \
    FIELD(password, text) \
    FIELD(secret, text) \
    FIELD(tie_breaker, bits) \
    FIELD(controlling, bool) \
    FIELD(targets, addresses)

#define HNT_PINHOLE_FIELDS(FIELD) \
    FIELD(bound, address) \
    FIELD(state, int) \
    FIELD(generation, int) \
    FIELD(learned, address) \
    FIELD(latched_s, maybe_float) \
    FIELD(heard_s, maybe_float) \
    FIELD(flow, int) \
    FIELD(counters, counters) \
    FIELD(quality, quality) \
    FIELD(stream, stream)

#define HNT_QUALITY_FIELDS(FIELD) \
    FIELD(ssrc, maybe_int) \
    FIELD(packets, int) \
    FIELD(lost, int) \
    FIELD(reordered, int) \
    FIELD(duplicates, int) \
    FIELD(jitter_ms, float) \
    FIELD(round_trip_ms, maybe_float)

#define HNT_EVENT_FIELDS(FIELD) \
    FIELD(side, int) \
    FIELD(generation, int) \
    FIELD(source, address) \
    FIELD(relatched, bool) \
    FIELD(after_s, float) \
    FIELD(stream, stream) \
    FIELD(silent_s, float) \
    FIELD(pinholes, pinholes)

#endif

/* The queue of events between the workers and whoever reads them, and what goes into each kind. */
#include "io/binding.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_EVENTS = 65536 }; /* of the kinds that may be lost */

void hnt_happened(struct hnt_engine *engine, struct hnt_event event)
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
        free(event.pinholes);
    pthread_mutex_unlock(&engine->events_lock);
    if (write(engine->told, &one, sizeof one) < 0) { /* the counter is full: readable anyway */
    }
}

struct hnt_event hnt_event_of(const struct pinhole *pinhole, enum hnt_event_kind kind)
{
    struct hnt_event event = {.handle = pinhole->binding->handle, .kind = (uint8_t)kind};
    event.side = pinhole->side;
    event.stream.kind = HNT_EMPTY;
    return event;
}

static void note_told(struct pinhole *pinhole, const struct hnt_header *stream)
{
    pinhole->has_told_stream = stream != NULL;
    if (stream != NULL)
        pinhole->told_stream = stream->ssrc;
}

void hnt_tell_latched(struct pinhole *pinhole, bool again, double now)
{
    struct hnt_event event = hnt_event_of(pinhole, HNT_EVENT_LATCHED);
    event.source = pinhole->latch.source;
    event.generation = pinhole->latch.generation;
    event.relatched = again;
    event.after_s = now - pinhole->armed_at;
    note_told(pinhole, hnt_latch_stream(&pinhole->latch, &event.stream) ? &event.stream : NULL);
    hnt_happened(pinhole->binding->worker->engine, event);
}

void hnt_tell_stream(struct pinhole *pinhole, double now)
{
    struct hnt_event event = hnt_event_of(pinhole, HNT_EVENT_STREAM);
    const uint32_t *told = pinhole->has_told_stream ? &pinhole->told_stream : NULL;
    if (now - pinhole->stream_told_at < HNT_STREAM_EVENT_S ||
        !hnt_latch_stream_news(&pinhole->latch, told, now, &event.stream))
        return;
    pinhole->stream_told_at = now;
    note_told(pinhole, &event.stream);
    hnt_happened(pinhole->binding->worker->engine, event);
}

unsigned hnt_take_events(struct hnt_engine *engine, struct hnt_event *events, unsigned room)
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
    return taken;
}

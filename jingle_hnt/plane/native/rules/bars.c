/* The set of barred sources: who is noted, for how long it is barred, who makes room. Twin of relay/barring.py. */
#include "rules/bars.h"

#include <string.h>

#define SUSPECT_S 10.0
#define BARRED_S 300.0

void hnt_bars_init(struct hnt_bars *bars)
{
    memset(bars, 0, sizeof *bars);
    pthread_mutex_init(&bars->lock, NULL);
}

void hnt_bars_clear(struct hnt_bars *bars)
{
    pthread_mutex_destroy(&bars->lock);
}

static struct hnt_network network_of(const struct hnt_address *source)
{
    struct hnt_network network = {.version = source->version, .prefix = source->version == 4 ? 32 : 64};
    memcpy(network.ip, source->ip, network.prefix / 8);
    return network;
}

static struct hnt_suspect *find(struct hnt_bars *bars, const struct hnt_network *network)
{
    for (unsigned i = 0; i < bars->suspects; i++) {
        struct hnt_suspect *suspect = &bars->suspect[i];
        if (suspect->network.version == network->version &&
            memcmp(suspect->network.ip, network->ip, sizeof network->ip) == 0)
            return suspect;
    }
    return NULL;
}

/* Removing keeps the order of arrival, as the Python dict does: ties go to who came first. */
static void make_room(struct hnt_bars *bars)
{
    unsigned oldest = 0;
    for (unsigned i = 1; i < bars->suspects; i++)
        if (bars->suspect[i].heard_at < bars->suspect[oldest].heard_at)
            oldest = i;
    bars->suspects--;
    memmove(bars->suspect + oldest, bars->suspect + oldest + 1,
            (bars->suspects - oldest) * sizeof bars->suspect[0]);
}

static struct hnt_suspect *suspect_of(struct hnt_bars *bars, const struct hnt_address *source, double now)
{
    struct hnt_network network = network_of(source);
    struct hnt_suspect *suspect = find(bars, &network);
    if (suspect != NULL)
        return suspect;
    if (bars->suspects == HNT_BARS)
        make_room(bars);
    suspect = &bars->suspect[bars->suspects++];
    *suspect = (struct hnt_suspect){.network = network, .since = now, .heard_at = now};
    return suspect;
}

bool hnt_bars_note(struct hnt_bars *bars, const struct hnt_address *source, double now)
{
    bool fresh = false;
    pthread_mutex_lock(&bars->lock);
    struct hnt_suspect *suspect = suspect_of(bars, source, now);
    suspect->heard_at = now;
    bool barred_before = suspect->until > 0;
    if (!barred_before && now - suspect->since > SUSPECT_S) {
        suspect->since = now;
        suspect->packets = 0;
    }
    suspect->packets++;
    if (barred_before || suspect->packets >= HNT_SUSPECT_PACKETS) {
        fresh = suspect->until <= now;
        suspect->until = now + BARRED_S;
    }
    pthread_mutex_unlock(&bars->lock);
    if (fresh)
        bars->version++;
    return fresh;
}

bool hnt_bars_has(struct hnt_bars *bars, const struct hnt_address *source, double now)
{
    struct hnt_network network = network_of(source);
    pthread_mutex_lock(&bars->lock);
    const struct hnt_suspect *suspect = find(bars, &network);
    bool barred = suspect != NULL && suspect->until > now;
    pthread_mutex_unlock(&bars->lock);
    return barred;
}

unsigned hnt_bars_list(struct hnt_bars *bars, uint8_t version, double now, struct hnt_network out[HNT_BARS_LISTED])
{
    unsigned count = 0;
    pthread_mutex_lock(&bars->lock);
    for (unsigned i = bars->suspects; i-- > 0 && count < HNT_BARS_LISTED;)
        if (bars->suspect[i].until > now && bars->suspect[i].network.version == version)
            out[count++] = bars->suspect[i].network;
    pthread_mutex_unlock(&bars->lock);
    return count;
}

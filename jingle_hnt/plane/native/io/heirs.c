/* Keeps the sockets that the process was given at its start until a binding of their address asks for them. */
#include "io/heirs.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/pinhole.h"

struct hnt_heir {
    struct hnt_heir *next;
    int socket;
    struct hnt_address bound, peer; /* a door has no peer: version 0 */
};

static bool read_names(struct hnt_heir *heir)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    int type;
    socklen_t type_length = sizeof type;
    if (getsockopt(heir->socket, SOL_SOCKET, SO_TYPE, &type, &type_length) < 0 || type != SOCK_DGRAM ||
        getsockname(heir->socket, (struct sockaddr *)&name, &length) < 0 ||
        (name.ss_family != AF_INET && name.ss_family != AF_INET6))
        return false;
    hnt_from_sockaddr(&name, &heir->bound);
    length = sizeof name;
    heir->peer = (struct hnt_address){.version = 0};
    if (getpeername(heir->socket, (struct sockaddr *)&name, &length) == 0)
        hnt_from_sockaddr(&name, &heir->peer);
    return heir->bound.port != 0;
}

/* Who holds a copy keeps the port: a line must not go on swallowing its peer's packets there. */
static void retire(struct hnt_heir *heir, bool left)
{
    if (left && heir->peer.version != 0)
        hnt_line_leave(heir->socket, &heir->bound);
    close(heir->socket);
    free(heir);
}

void hnt_heirs_add(struct hnt_heirs *heirs, int socket)
{
    struct hnt_heir *heir = calloc(1, sizeof *heir);
    if (heir == NULL) {
        close(socket);
        return;
    }
    heir->socket = socket;
    if (!read_names(heir)) {
        close(socket);
        free(heir);
        return;
    }
    pthread_mutex_lock(&heirs->lock);
    struct hnt_heir **bucket = &heirs->bucket[heir->bound.port % HNT_HEIR_BUCKETS];
    heir->next = *bucket;
    *bucket = heir;
    pthread_mutex_unlock(&heirs->lock);
}

static void empty(int door)
{
    char byte;
    hnt_door_close_filter(door);
    while (recv(door, &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC) >= 0)
        continue;
}

int hnt_heirs_door(struct hnt_heirs *heirs, const struct hnt_address *bound)
{
    int door = -1;
    pthread_mutex_lock(&heirs->lock);
    struct hnt_heir **at = &heirs->bucket[bound->port % HNT_HEIR_BUCKETS];
    while (*at != NULL && ((*at)->peer.version != 0 || !hnt_same_address(&(*at)->bound, bound)))
        at = &(*at)->next;
    if (*at != NULL) {
        struct hnt_heir *heir = *at;
        *at = heir->next;
        door = heir->socket;
        free(heir);
    }
    pthread_mutex_unlock(&heirs->lock);
    if (door >= 0)
        empty(door);
    return door;
}

int hnt_heirs_line(struct hnt_heirs *heirs, const struct hnt_address *bound, const struct hnt_address *peer)
{
    int line = -1;
    pthread_mutex_lock(&heirs->lock);
    struct hnt_heir **at = &heirs->bucket[bound->port % HNT_HEIR_BUCKETS];
    while (*at != NULL) {
        struct hnt_heir *heir = *at;
        if (heir->peer.version == 0 || !hnt_same_address(&heir->bound, bound)) {
            at = &heir->next;
            continue;
        }
        *at = heir->next;
        if (line < 0 && peer != NULL && hnt_same_address(&heir->peer, peer)) {
            line = heir->socket;
            free(heir);
        } else {
            retire(heir, true);
        }
    }
    pthread_mutex_unlock(&heirs->lock);
    return line;
}

void hnt_heirs_clear(struct hnt_heirs *heirs, bool left)
{
    pthread_mutex_lock(&heirs->lock);
    for (unsigned i = 0; i < HNT_HEIR_BUCKETS; i++) {
        while (heirs->bucket[i] != NULL) {
            struct hnt_heir *heir = heirs->bucket[i];
            heirs->bucket[i] = heir->next;
            retire(heir, left);
        }
    }
    pthread_mutex_unlock(&heirs->lock);
}

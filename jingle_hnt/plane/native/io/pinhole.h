/* The sockets of one pinhole, and the filters that make the kernel drop what no latch would take.
 *
 * A pinhole has two sockets on the same address. The door is bound for as long as the pinhole lives; its
 * filter lets in what may teach the latch, and nothing at all while the latch is shut. The line exists
 * while the latch has a learned source and is connected to it: the kernel gives that source's packets to
 * the line and everybody else's to the door. With one connected socket only, the kernel would answer
 * everybody else with ICMP port unreachable and so tell a scanner that the port is in use. */
#ifndef HNT_PINHOLE_H
#define HNT_PINHOLE_H

#include <stdint.h>
#include <sys/socket.h>

#include "rules/crowd.h"
#include "rules/latch.h"

/* A new door, bound and shut; what it sends is marked with the codepoint (RFC 2474). Returns -1 with errno set. */
int hnt_door_open(const struct hnt_address *bound, uint8_t dscp);

/* Let in nothing, or what the evidence admits, or one address with any port. `version` is the door's. Return
 * -1 with errno set; evidence too long for the kernel lets everything in, and the latch judges alone. */
int hnt_door_close_filter(int door);
int hnt_door_filter_evidence(int door, uint8_t version, const struct hnt_evidence *evidence,
                             const struct hnt_network *barred, unsigned bars);
/* Let in everybody but these. */
int hnt_door_filter_barred(int door, uint8_t version, const struct hnt_network *barred, unsigned bars);
/* What is likely the party's: its hosts, checks that begin with the name of a key, streams of these SSRCs, and whoever
 * is not known to crowd (NULL: nobody else); of all else one packet in `one_in`, a power of two, so that nobody is
 * shut out for good. */
struct hnt_guard {
    unsigned hosts, keys, streams, one_in;
    struct hnt_address host[24];
    const struct hnt_key *key;
    const struct hnt_crowded *crowded;
    uint32_t stream[8];
};

/* Let in what the guard says, and the evidence's likely sources. */
int hnt_door_guard(int door, uint8_t version, const struct hnt_evidence *evidence, const struct hnt_guard *guard);
int hnt_door_filter_host(int door, const struct hnt_address *host);
/* Of what `host`, or where that is NULL the evidence, admits, let in the media of these SSRCs. */
int hnt_door_filter_streams(int door, uint8_t version, const struct hnt_evidence *evidence,
                            const struct hnt_address *host, const uint32_t *ssrcs, unsigned count);

/* Between its bind and its connect the kernel gives a line everybody's packets, and for a moment after it those
 * that were under way: let in the peer's, and with evidence (NULL for none) what that admits, as the door would
 * have. Returns -1 with errno set. */
int hnt_line_filter(int line, const struct hnt_address *peer, const struct hnt_evidence *evidence);

/* A new line beside the door, filtered and connected to the peer. Returns -1 with errno set. */
int hnt_line_open(int door, const struct hnt_address *bound, const struct hnt_address *peer,
                  const struct hnt_evidence *evidence, uint8_t dscp);

/* Connect a line to another peer; what others said before waits at it. Returns -1 with errno set. */
int hnt_line_turn(int line, const struct hnt_address *peer, const struct hnt_evidence *evidence);

/* A line that is not to hear its peer any more, though somebody may hold a copy of it, or wait at it: closing
 * it would not be enough. */
void hnt_line_leave(int line, const struct hnt_address *bound);

/* Packets that the kernel has dropped at this socket: by its filter, or for want of room. */
uint32_t hnt_socket_drops(int socket);

socklen_t hnt_to_sockaddr(const struct hnt_address *address, struct sockaddr_storage *out);
void hnt_from_sockaddr(const struct sockaddr_storage *in, struct hnt_address *out);

#endif

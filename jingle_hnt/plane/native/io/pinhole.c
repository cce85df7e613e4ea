/* Opens, connects and leaves sockets, and writes the BPF programs that filter them. */
#include "io/pinhole.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "rules/ice.h"

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

enum {
    ACCEPT = -1,
    DROP = 0,
    IPV4_SOURCE = 12, /* offsets in the network header (RFC 791, RFC 8200) */
    IPV6_SOURCE = 8,
    UDP_HEADER = 8,
    RTP_SSRC = 8, /* RFC 3550 sections 5.1 and 6.4.1 */
    RTCP_SSRC = 4,
    UDP_SOURCE_PORT = 0,   /* a UDP socket's filter sees the datagram from its UDP header on */
    STUN_ATTRIBUTE = UDP_HEADER + 20, /* the first one, behind the headers of UDP and STUN */
    STUN_USERNAME = 0x0006,
    NAME_WORDS = 4,
    MAX_INSTRUCTIONS = 1024,
    LINE_BYTES = 1 << 19, /* of packets that wait; the kernel allows what net.core.rmem_max says */
    HOST_INSTRUCTIONS_IPV4 = 4, /* of match_network for a single host */
    HOST_INSTRUCTIONS_IPV6 = 13,
};

/* Filters */

struct program {
    struct sock_filter code[MAX_INSTRUCTIONS];
    unsigned short length;
    bool too_long;
};

static void emit(struct program *program, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
    if (program->length == MAX_INSTRUCTIONS) {
        program->too_long = true;
        return;
    }
    struct sock_filter instruction = {code, jt, jf, k};
    program->code[program->length++] = instruction;
}

static uint32_t word(const uint8_t *ip, unsigned index)
{
    uint32_t value;
    memcpy(&value, ip + 4 * index, sizeof value);
    return ntohl(value);
}

static uint32_t mask_of(unsigned prefix, unsigned index)
{
    if (prefix >= 32 * (index + 1))
        return 0xffffffff;
    if (prefix <= 32 * index)
        return 0;
    return 0xffffffff << (32 * (index + 1) - prefix);
}

/* Return `verdict` for sources in this network, go on with the next instruction for others. */
static void match_network(struct program *program, const struct hnt_network *network, int verdict)
{
    unsigned words = network->version == 4 ? 1 : 4;
    uint32_t offset = network->version == 4 ? IPV4_SOURCE : IPV6_SOURCE;
    unsigned used = 0;
    while (used < words && mask_of(network->prefix, used) != 0)
        used++;
    for (unsigned i = 0; i < used; i++) {
        uint32_t mask = mask_of(network->prefix, i);
        uint8_t past = (uint8_t)(3 * (used - i - 1) + 1); /* over the other words and the return */
        emit(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)SKF_NET_OFF + offset + 4 * i);
        emit(program, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
        emit(program, BPF_JMP | BPF_JEQ | BPF_K, 0, past, word(network->ip, i) & mask);
    }
    emit(program, BPF_RET | BPF_K, 0, 0, (uint32_t)verdict);
}

/* A kernel with a small net.core.optmem_max refuses programs that are within the length allowed. */
static int attach(int socket, struct program *program, uint32_t otherwise)
{
    emit(program, BPF_RET | BPF_K, 0, 0, otherwise);
    struct sock_fprog filter = {program->length, program->code};
    if (!program->too_long && setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0)
        return 0;
    struct sock_filter all = {BPF_RET | BPF_K, 0, 0, (uint32_t)ACCEPT};
    filter = (struct sock_fprog){1, &all};
    return setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

static struct hnt_network host_of(const struct hnt_address *address)
{
    struct hnt_network host = {.version = address->version};
    memcpy(host.ip, address->ip, sizeof host.ip);
    host.prefix = address->version == 4 ? 32 : 128;
    return host;
}

int hnt_door_close_filter(int door)
{
    struct program program = {.length = 0};
    return attach(door, &program, DROP);
}

/* Networks of the other version are left out: they would be compared with the wrong part of the header. */
static void match_networks(struct program *program, uint8_t version, const struct hnt_network *networks,
                           unsigned count, int verdict)
{
    for (unsigned i = 0; i < count; i++)
        if (networks[i].version == version)
            match_network(program, networks + i, verdict);
}

static void match_evidence(struct program *program, uint8_t version, const struct hnt_evidence *evidence,
                           const struct hnt_network *barred, unsigned bars)
{
    const struct hnt_network *networks = evidence->networks;
    match_networks(program, version, networks + evidence->sources, evidence->refused, DROP);
    match_networks(program, version, networks + evidence->sources + evidence->refused, evidence->likely, ACCEPT);
    match_networks(program, version, barred, bars, DROP);
    match_networks(program, version, networks, evidence->sources, ACCEPT);
}

int hnt_door_filter_evidence(int door, uint8_t version, const struct hnt_evidence *evidence,
                             const struct hnt_network *barred, unsigned bars)
{
    struct program program = {.length = 0};
    match_evidence(&program, version, evidence, barred, bars);
    return attach(door, &program, DROP);
}

int hnt_door_filter_barred(int door, uint8_t version, const struct hnt_network *barred, unsigned bars)
{
    struct program program = {.length = 0};
    match_networks(&program, version, barred, bars, DROP);
    return attach(door, &program, (uint32_t)ACCEPT);
}

/* Checks that begin with a key's name, as agents write them (USERNAME is their first attribute, and padded to words);
 * the first bytes of it are enough to tell strangers. */
static void match_name(struct program *program, const struct hnt_key *key)
{
    unsigned length = key->username_length < 4 * NAME_WORDS ? key->username_length : 4 * NAME_WORDS;
    unsigned words = length / 4 + (length % 4 > 0);
    uint8_t past = (uint8_t)(3 * words + 1);
    emit(program, BPF_LD | BPF_H | BPF_ABS, 0, 0, STUN_ATTRIBUTE);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, 0, past, STUN_USERNAME);
    for (unsigned i = 0; i < words; i++) {
        uint32_t mask = mask_of(8 * length, i);
        past = (uint8_t)(past - 3);
        emit(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, STUN_ATTRIBUTE + 4 + 4 * i);
        emit(program, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
        emit(program, BPF_JMP | BPF_JEQ | BPF_K, 0, past, word(key->username, i) & mask);
    }
    emit(program, BPF_RET | BPF_K, 0, 0, (uint32_t)ACCEPT);
}

static void match_stream(struct program *program, uint32_t offset, const struct hnt_guard *guard)
{
    if (guard->streams == 0)
        return;
    emit(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
    for (unsigned i = 0; i < guard->streams; i++) {
        emit(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, guard->stream[i]);
        emit(program, BPF_RET | BPF_K, 0, 0, (uint32_t)ACCEPT);
    }
}

/* The first cell of the filter's memory keeps a hash meanwhile. */
static void match_hash(struct program *program, uint8_t version, uint32_t factor)
{
    unsigned words = version == 4 ? 1 : 4;
    uint32_t offset = (uint32_t)SKF_NET_OFF + (version == 4 ? IPV4_SOURCE : IPV6_SOURCE);
    emit(program, BPF_LDX | BPF_W | BPF_IMM, 0, 0, 0);
    for (unsigned i = 0; i <= words; i++) {
        bool port = i == words;
        emit(program, BPF_LD | (port ? BPF_H : BPF_W) | BPF_ABS, 0, 0, port ? UDP_SOURCE_PORT : offset + 4 * i);
        emit(program, BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0);
        emit(program, BPF_ALU | BPF_MUL | BPF_K, 0, 0, factor);
        emit(program, BPF_MISC | BPF_TAX, 0, 0, 0);
    }
    emit(program, BPF_ALU | BPF_RSH | BPF_K, 0, 0, 24);
    emit(program, BPF_ST, 0, 0, 0);
}

/* Accept sources whose place is not full by one of the hashes, go on with the next instruction for others: the twin of
 * hnt_crowd_has. */
static void match_calm(struct program *program, uint8_t version, const struct hnt_crowded *crowded)
{
    for (unsigned hash = 0; hash < HNT_CROWD_HASHES; hash++) {
        match_hash(program, version, crowded->factor[hash]);
        emit(program, BPF_ALU | BPF_RSH | BPF_K, 0, 0, 5);
        for (unsigned i = 0; i < HNT_CROWD_WORDS; i++) {
            emit(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 2, i);
            emit(program, BPF_LD | BPF_W | BPF_IMM, 0, 0, crowded->full[hash][i]);
            emit(program, BPF_JMP | BPF_JA, 0, 0, 3 * (HNT_CROWD_WORDS - 1 - i));
        }
        emit(program, BPF_ST, 0, 0, 1);
        emit(program, BPF_LD | BPF_W | BPF_MEM, 0, 0, 0);
        emit(program, BPF_ALU | BPF_AND | BPF_K, 0, 0, 31);
        emit(program, BPF_MISC | BPF_TAX, 0, 0, 0);
        emit(program, BPF_LD | BPF_W | BPF_MEM, 0, 0, 1);
        emit(program, BPF_ALU | BPF_RSH | BPF_X, 0, 0, 0);
        emit(program, BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1);
        emit(program, BPF_RET | BPF_K, 0, 0, (uint32_t)ACCEPT);
    }
}

int hnt_door_guard(int door, uint8_t version, const struct hnt_evidence *evidence, const struct hnt_guard *guard)
{
    struct program program = {.length = 0};
    const struct hnt_network *networks = evidence->networks + evidence->sources;
    for (unsigned i = 0; i < guard->hosts; i++) {
        struct hnt_network host = host_of(&guard->host[i]);
        match_networks(&program, version, &host, 1, ACCEPT);
    }
    match_networks(&program, version, networks, evidence->refused, DROP);
    match_networks(&program, version, networks + evidence->refused, evidence->likely, ACCEPT);
    /* A load from behind the datagram's end would drop it: this comes before any. */
    emit(&program, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)SKF_AD_OFF + SKF_AD_RANDOM);
    emit(&program, BPF_ALU | BPF_AND | BPF_K, 0, 0, guard->one_in - 1);
    emit(&program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    emit(&program, BPF_RET | BPF_K, 0, 0, (uint32_t)ACCEPT);
    if (guard->crowded != NULL)
        match_calm(&program, version, guard->crowded);
    match_stream(&program, UDP_HEADER + RTCP_SSRC, guard);
    match_stream(&program, UDP_HEADER + RTP_SSRC, guard);
    for (unsigned i = 0; i < guard->keys; i++)
        match_name(&program, &guard->key[i]);
    return attach(door, &program, DROP);
}

int hnt_door_filter_host(int door, const struct hnt_address *host)
{
    struct program program = {.length = 0};
    struct hnt_network network = host_of(host);
    match_network(&program, &network, ACCEPT);
    return attach(door, &program, DROP);
}

/* Go on with the next instruction for media of these SSRCs, drop everything else; also what is too short. */
static void match_ssrcs(struct program *program, uint32_t offset, const uint32_t *ssrcs, unsigned count)
{
    emit(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, UDP_HEADER + offset);
    for (unsigned i = 0; i < count; i++)
        emit(program, BPF_JMP | BPF_JEQ | BPF_K, (uint8_t)(count - i), 0, ssrcs[i]);
    emit(program, BPF_RET | BPF_K, 0, 0, DROP);
}

int hnt_door_filter_streams(int door, uint8_t version, const struct hnt_evidence *evidence,
                            const struct hnt_address *host, const uint32_t *ssrcs, unsigned count)
{
    struct program program = {.length = 0};
    match_ssrcs(&program, evidence->reports ? RTCP_SSRC : RTP_SSRC, ssrcs, count);
    if (host != NULL) {
        struct hnt_network network = host_of(host);
        match_network(&program, &network, ACCEPT);
    } else {
        match_evidence(&program, version, evidence, NULL, 0);
    }
    return attach(door, &program, DROP);
}

int hnt_line_filter(int line, const struct hnt_address *peer, const struct hnt_evidence *evidence)
{
    struct program program = {.length = 0};
    struct hnt_network network = host_of(peer);
    uint8_t past = peer->version == 4 ? HOST_INSTRUCTIONS_IPV4 : HOST_INSTRUCTIONS_IPV6;
    emit(&program, BPF_LD | BPF_H | BPF_ABS, 0, 0, UDP_SOURCE_PORT);
    emit(&program, BPF_JMP | BPF_JEQ | BPF_K, 0, past, peer->port);
    match_network(&program, &network, ACCEPT);
    if (evidence != NULL)
        match_evidence(&program, peer->version, evidence, NULL, 0);
    return attach(line, &program, DROP);
}

/* Sockets */

socklen_t hnt_to_sockaddr(const struct hnt_address *address, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (address->version == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(address->port);
        memcpy(&in->sin_addr, address->ip, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(address->port);
    memcpy(&in6->sin6_addr, address->ip, 16);
    return sizeof *in6;
}

void hnt_from_sockaddr(const struct sockaddr_storage *in, struct hnt_address *out)
{
    memset(out, 0, sizeof *out);
    if (in->ss_family == AF_INET) {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)in;
        out->version = 4;
        out->port = ntohs(in4->sin_port);
        memcpy(out->ip, &in4->sin_addr, 4);
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)in;
        out->version = 6;
        out->port = ntohs(in6->sin6_port);
        memcpy(out->ip, &in6->sin6_addr, 16);
    }
}

/* Linux sets DF by default. On a path that is narrower than its first link and whose ICMP "too big"
   is lost, large packets would never arrive; a party that sends without DF has them fragmented. */
static void allow_fragments(int socket, int family)
{
    int no_discovery = family == AF_INET ? IP_PMTUDISC_DONT : IPV6_PMTUDISC_DONT;
    setsockopt(socket, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
               family == AF_INET ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &no_discovery,
               sizeof no_discovery);
}

static int new_socket(uint8_t version, uint8_t dscp)
{
    int on = 1, marked = dscp << 2, family = version == 4 ? AF_INET : AF_INET6;
    int made = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made >= 0 && family == AF_INET6 &&
        setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) {
        close(made);
        return -1;
    }
    if (made >= 0 && dscp > 0) /* unmarked is no reason to be silent */
        setsockopt(made, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
                   family == AF_INET ? IP_TOS : IPV6_TCLASS, &marked, sizeof marked);
    if (made >= 0)
        allow_fragments(made, family);
    return made;
}

static int bind_to(int socket, const struct hnt_address *bound)
{
    struct sockaddr_storage name;
    socklen_t length = hnt_to_sockaddr(bound, &name);
    return bind(socket, (struct sockaddr *)&name, length);
}

static void close_keeping_errno(int socket)
{
    int kept = errno;
    close(socket);
    errno = kept;
}

int hnt_door_open(const struct hnt_address *bound, uint8_t dscp)
{
    int door = new_socket(bound->version, dscp);
    if (door < 0)
        return -1;
    /* The filter stands before the port is open, so that nothing slips in between. */
    if (hnt_door_close_filter(door) < 0 || bind_to(door, bound) < 0) {
        close_keeping_errno(door);
        return -1;
    }
    return door;
}

/* SO_REUSEPORT, not SO_REUSEADDR: the kernel lets sockets of the same user share a port by it, and nobody else's. */
static void share_address(int socket, int on)
{
    setsockopt(socket, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
}

static int connect_to(int line, const struct hnt_address *peer)
{
    struct sockaddr_storage name;
    socklen_t length = hnt_to_sockaddr(peer, &name);
    return connect(line, (struct sockaddr *)&name, length);
}

int hnt_line_open(int door, const struct hnt_address *bound, const struct hnt_address *peer,
                  const struct hnt_evidence *evidence, uint8_t dscp)
{
    int line = new_socket(bound->version, dscp);
    if (line < 0)
        return -1;
    /* Who forges the party's address shares this queue with it: a busy machine is to lose neither. */
    int bytes = LINE_BYTES;
    setsockopt(line, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    /* Shared for a moment only: nobody else is to join us on this port. */
    share_address(door, 1);
    share_address(line, 1);
    int failed = hnt_line_filter(line, peer, evidence) < 0 || bind_to(line, bound) < 0 || connect_to(line, peer) < 0;
    share_address(line, 0);
    share_address(door, 0);
    if (failed) {
        close_keeping_errno(line);
        return -1;
    }
    return line;
}

int hnt_line_turn(int line, const struct hnt_address *peer, const struct hnt_evidence *evidence)
{
    return hnt_line_filter(line, peer, evidence) < 0 ? -1 : connect_to(line, peer);
}

void hnt_line_leave(int line, const struct hnt_address *bound)
{
    if (connect_to(line, bound) < 0) { /* it goes with its last copy */
    }
}

uint32_t hnt_socket_drops(int socket)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof memory;
    if (getsockopt(socket, SOL_SOCKET, SO_MEMINFO, memory, &length) < 0)
        return 0;
    return memory[SK_MEMINFO_DROPS];
}

/* One party of many calls: sends paced RTP-like packets to a relay, counts what comes back.
 *
 *     generator ADDRESS PORT WAY PPS SIZE BURST START WARM SECONDS DRAIN < flows
 *
 * Each line of the input is "ADDRESS PORT", where one flow's packets go and come from. All flows share one
 * socket, so that a batch holds packets of many calls: on a small machine the generator competes with the relay.
 * PPS is packets a second and flow, of which BURST leave together, START a CLOCK_REALTIME second. Packets of the first WARM seconds teach the
 * relay's latches and are not counted. WAY (0 or 1) tells the two parties' packets apart. The outcome is one
 * line of JSON. Latency is from just before the sending of a batch to the kernel's receive time stamp, so that
 * this process's own sleep is not in it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum {
    BATCH = 256,
    HEAD = 64, /* as much of a packet as is looked at */
    LARGEST = 1500,
    TICK_NS = 500000,
    LATE_NS = 1000000000, /* a generator this late gives up: what it did not send is not called lost */
    BUFFER = 64 << 20,
    STEPS = 32, /* of the latency histogram in each power of two of microseconds */
    OCTAVES = 24,
};

struct __attribute__((packed)) head {
    uint8_t version, payload_type; /* RTP, RFC 3550 section 5.1, so that relays take it for media */
    uint16_t sequence;
    uint32_t timestamp, ssrc;
    uint32_t way, flow, number, warm;
    uint64_t sent_ns;
};

struct flow {
    struct sockaddr_in relay;
    uint32_t highest, received; /* highest number + 1 */
    uint64_t seen; /* bit i: number highest - 1 - i has come */
};

struct counts {
    uint64_t sent, received, duplicates, reordered, foreign, mangled, late_ns;
    uint64_t latency[STEPS * OCTAVES];
};

static struct flow *flows;
static uint32_t flow_count;
static struct counts counts;
static uint32_t way, size, burst;
static uint8_t packets[BATCH][LARGEST], heads[BATCH][HEAD];
static uint8_t controls[BATCH][CMSG_SPACE(sizeof(struct timespec))];
static struct sockaddr_in names[BATCH];
static struct iovec out_vector[BATCH], in_vector[BATCH];
static struct mmsghdr out[BATCH], in[BATCH];

static void fail(const char *what)
{
    fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t ns_of(struct timespec time)
{
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return ns_of(now);
}

static void sleep_until(uint64_t ns)
{
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

static unsigned step_of(uint64_t us)
{
    unsigned octave = 0;
    while (us >= 2 * STEPS && octave + 2 < OCTAVES) {
        us >>= 1;
        octave++;
    }
    if (us >= 2 * STEPS)
        us = 2 * STEPS - 1;
    return octave * STEPS + (unsigned)us;
}

static uint64_t us_of(unsigned step)
{
    unsigned octave = step < 2 * STEPS ? 0 : step / STEPS - 1;
    return (uint64_t)(step - octave * STEPS) << octave;
}

static void read_flows(void)
{
    char address[64];
    unsigned port, room = 0;
    while (scanf("%63s %u", address, &port) == 2) {
        if (flow_count == room) {
            room = room ? 2 * room : 1024;
            flows = realloc(flows, room * sizeof *flows);
            if (flows == NULL)
                fail("flows");
        }
        struct flow *flow = &flows[flow_count++];
        memset(flow, 0, sizeof *flow);
        flow->relay.sin_family = AF_INET;
        flow->relay.sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, address, &flow->relay.sin_addr) != 1)
            fail(address);
    }
}

static int open_socket(const char *address, unsigned port)
{
    int udp = socket(AF_INET, SOCK_DGRAM, 0), size = BUFFER, one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (udp < 0 || inet_pton(AF_INET, address, &here.sin_addr) != 1)
        fail(address);
    if (setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0
        || setsockopt(udp, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0
        || setsockopt(udp, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) < 0)
        fail("socket options");
    if (bind(udp, (struct sockaddr *)&here, sizeof here) < 0)
        fail("bind");
    return udp;
}

static void prepare(void)
{
    for (unsigned i = 0; i < BATCH; i++) {
        memset(packets[i], 0x55, sizeof packets[i]);
        out_vector[i] = (struct iovec){packets[i], size};
        out[i].msg_hdr = (struct msghdr){.msg_iov = &out_vector[i], .msg_iovlen = 1};
        in_vector[i] = (struct iovec){heads[i], HEAD};
    }
}

/* Packets of the numbers from `from` up to `to`; the flows take turns of `burst` packets. */
static void send_packets(int udp, uint64_t from, uint64_t to, uint64_t warm)
{
    while (from < to) {
        unsigned filled = 0;
        uint64_t now = now_ns();
        for (; filled < BATCH && from + filled < to; filled++) {
            uint64_t at = from + filled, turn = at / burst;
            uint32_t flow = (uint32_t)(turn % flow_count);
            uint32_t number = (uint32_t)(turn / flow_count * burst + at % burst);
            struct head head = {.version = 0x80, .way = way, .flow = flow, .warm = at < warm, .sent_ns = now};
            head.sequence = htons((uint16_t)number);
            head.timestamp = htonl(number * 160);
            head.ssrc = htonl(2 * flow + way + 1);
            head.number = number;
            memcpy(packets[filled], &head, sizeof head);
            out[filled].msg_hdr.msg_name = &flows[flow].relay;
            out[filled].msg_hdr.msg_namelen = sizeof flows[flow].relay;
        }
        for (unsigned done = 0; done < filled;) {
            int sent = sendmmsg(udp, out + done, filled - done, 0);
            if (sent < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
                fail("send");
            done += sent > 0 ? (unsigned)sent : 0;
        }
        for (unsigned i = 0; i < filled; i++)
            counts.sent += from + i >= warm;
        from += filled;
    }
}

/* Whether the packet is new; it may be late or come twice. */
static void count(struct flow *flow, uint32_t number)
{
    uint32_t next = number + 1;
    if (next > flow->highest) {
        uint32_t ahead = next - flow->highest;
        flow->seen = (ahead > 63 ? 0 : flow->seen << ahead) | 1;
        flow->highest = next;
    } else {
        uint32_t behind = flow->highest - next;
        uint64_t bit = behind > 63 ? 0 : (uint64_t)1 << behind;
        if (flow->seen & bit) {
            counts.duplicates++;
            return;
        }
        flow->seen |= bit;
        counts.reordered++;
    }
    flow->received++;
    counts.received++;
}

static void hear(unsigned i)
{
    struct head head;
    struct timespec at;
    memcpy(&head, heads[i], sizeof head);
    if (in[i].msg_len != size) {
        counts.mangled++;
        return;
    }
    if (head.way == way || head.flow >= flow_count || names[i].sin_port != flows[head.flow].relay.sin_port
        || names[i].sin_addr.s_addr != flows[head.flow].relay.sin_addr.s_addr) {
        counts.foreign++;
        return;
    }
    if (head.warm)
        return;
    count(&flows[head.flow], head.number);
    struct cmsghdr *control = CMSG_FIRSTHDR(&in[i].msg_hdr);
    if (control == NULL || control->cmsg_type != SCM_TIMESTAMPNS)
        return;
    memcpy(&at, CMSG_DATA(control), sizeof at);
    uint64_t ns = ns_of(at);
    counts.latency[step_of(ns > head.sent_ns ? (ns - head.sent_ns) / 1000 : 0)]++;
}

static void receive(int udp)
{
    int came;
    do {
        for (unsigned i = 0; i < BATCH; i++) {
            struct msghdr header = {.msg_name = &names[i], .msg_namelen = sizeof names[i]};
            header.msg_iov = &in_vector[i];
            header.msg_iovlen = 1;
            header.msg_control = controls[i];
            header.msg_controllen = sizeof controls[i];
            in[i].msg_hdr = header;
        }
        came = recvmmsg(udp, in, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
        for (int i = 0; i < came; i++)
            hear((unsigned)i);
    } while (came == BATCH);
}

static void report(void)
{
    struct rusage usage;
    uint32_t silent = 0, worst = UINT32_MAX;
    const char *comma = "";
    for (uint32_t i = 0; i < flow_count; i++) {
        silent += flows[i].received == 0;
        worst = flows[i].received < worst ? flows[i].received : worst;
    }
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    printf("{\"sent\": %llu, \"received\": %llu, \"duplicates\": %llu, \"reordered\": %llu,",
        (unsigned long long)counts.sent, (unsigned long long)counts.received,
        (unsigned long long)counts.duplicates, (unsigned long long)counts.reordered);
    printf(" \"foreign\": %llu, \"mangled\": %llu, \"silent_flows\": %u, \"worst_flow\": %u,",
        (unsigned long long)counts.foreign, (unsigned long long)counts.mangled, silent, worst);
    printf(" \"late_ms\": %.3f, \"cpu_s\": %.3f, \"latency_us\": [", 1e-6 * (double)counts.late_ns, cpu);
    for (unsigned i = 0; i < STEPS * OCTAVES; i++)
        if (counts.latency[i]) {
            printf("%s[%llu, %llu]", comma, (unsigned long long)us_of(i), (unsigned long long)counts.latency[i]);
            comma = ", ";
        }
    printf("]}\n");
}

int main(int count, char **words)
{
    if (count != 11) {
        fprintf(stderr, "usage: generator ADDRESS PORT WAY PPS SIZE BURST START WARM SECONDS DRAIN < flows\n");
        return 2;
    }
    int udp = open_socket(words[1], (unsigned)atoi(words[2]));
    way = (uint32_t)atoi(words[3]);
    double pps = atof(words[4]);
    size = (uint32_t)atoi(words[5]);
    burst = (uint32_t)atoi(words[6]);
    uint64_t start = (uint64_t)(1e9 * atof(words[7]));
    double warm_s = atof(words[8]), seconds = atof(words[9]), drain_s = atof(words[10]);
    read_flows();
    if (size < HEAD || size > LARGEST || burst == 0 || flow_count == 0) {
        fprintf(stderr, "generator: packets are %d to %d bytes, flows and bursts more than none\n", HEAD, LARGEST);
        return 2;
    }
    prepare();
    uint64_t warm = flow_count * (uint64_t)(pps * warm_s / burst) * burst, next = 0;
    uint64_t all = warm + flow_count * (uint64_t)(pps * seconds / burst) * burst;
    double per_ns = pps * (double)flow_count * 1e-9;
    for (uint64_t tick = start; next < all; tick += TICK_NS) {
        sleep_until(tick);
        uint64_t now = now_ns(), due = (uint64_t)((double)(tick + TICK_NS - start) * per_ns);
        if (now > tick && next >= warm && now - tick > counts.late_ns)
            counts.late_ns = now - tick;
        if (now > tick + LATE_NS)
            break;
        due = due < all ? due / burst * burst : all;
        if (due > next)
            send_packets(udp, next, due, warm);
        next = due > next ? due : next;
        receive(udp);
    }
    for (uint64_t end = now_ns() + (uint64_t)(1e9 * drain_s); now_ns() < end;) {
        receive(udp);
        sleep_until(now_ns() + 4 * TICK_NS);
    }
    report();
    return 0;
}

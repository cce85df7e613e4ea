/* One side of many calls: sends RTP at a steady pace to the relay's ports, and hears what comes back.
 *
 *   generator ADDRESS START SECONDS INTERVAL_US SIZE < ports
 *
 * `ports` holds one "IP PORT" a line, the relay's for each flow. START and the time stamps in the packets
 * are of CLOCK_MONOTONIC, which all namespaces of a machine share. Prints one line of JSON at the end. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The first packets of a flow teach the relay where its party is; they are heard, and not measured. */
enum { LEARNING = 10, SOCKETS = 8, BATCH = 64, PACKET = 2048, HEADER = 12, MOST_SAMPLES = 1 << 22, BUFFER = 8 << 20 };

struct mark {
    uint32_t flow, number;
    int64_t sent_ns;
};

struct flow {
    struct sockaddr_in to;
    uint32_t sent, heard, measured, last;
};

static struct flow *flows;
static unsigned flow_count;
static uint32_t *samples;
static unsigned sample_count;
static uint64_t reordered, foreign;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int open_socket(const char *address, int number)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(7000 + 2 * number))};
    int size = BUFFER, made = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, address, &own.sin_addr);
    setsockopt(made, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(made, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    if (made < 0 || bind(made, (struct sockaddr *)&own, sizeof own) < 0) {
        perror("bind");
        exit(1);
    }
    return made;
}

static void take(const uint8_t *data, size_t length)
{
    struct mark mark;
    if (length < HEADER + sizeof mark) {
        foreign++;
        return;
    }
    memcpy(&mark, data + HEADER, sizeof mark);
    if (mark.flow >= flow_count) {
        foreign++;
        return;
    }
    struct flow *flow = &flows[mark.flow];
    if (flow->heard > 0 && mark.number <= flow->last)
        reordered++;
    else
        flow->last = mark.number;
    flow->heard++;
    if (mark.number < LEARNING)
        return;
    flow->measured++;
    if (sample_count < MOST_SAMPLES)
        samples[sample_count++] = (uint32_t)((now_ns() - mark.sent_ns) / 1000);
}

static void hear(const int *sockets, int wait_ms)
{
    static uint8_t memory[BATCH][PACKET];
    struct mmsghdr in[BATCH];
    struct iovec vector[BATCH];
    struct pollfd ready[SOCKETS];
    for (int i = 0; i < SOCKETS; i++)
        ready[i] = (struct pollfd){.fd = sockets[i], .events = POLLIN};
    if (poll(ready, SOCKETS, wait_ms) <= 0)
        return;
    for (int i = 0; i < SOCKETS; i++) {
        int count = ready[i].revents & POLLIN ? BATCH : 0;
        while (count == BATCH) {
            memset(in, 0, sizeof in);
            for (int n = 0; n < BATCH; n++) {
                vector[n] = (struct iovec){memory[n], PACKET};
                in[n].msg_hdr.msg_iov = &vector[n];
                in[n].msg_hdr.msg_iovlen = 1;
            }
            count = recvmmsg(sockets[i], in, BATCH, MSG_DONTWAIT, NULL);
            for (int n = 0; n < count; n++)
                take(memory[n], in[n].msg_len);
        }
    }
}

static void fill(uint8_t *packet, unsigned number_of_flow)
{
    struct flow *flow = &flows[number_of_flow];
    struct mark mark = {number_of_flow, flow->sent, now_ns()};
    uint32_t stamp = htonl(flow->sent * 160), ssrc = htonl(number_of_flow + 1);
    uint16_t sequence = htons((uint16_t)flow->sent);
    packet[0] = 0x80;
    packet[1] = 0;
    memcpy(packet + 2, &sequence, 2);
    memcpy(packet + 4, &stamp, 4);
    memcpy(packet + 8, &ssrc, 4);
    memcpy(packet + HEADER, &mark, sizeof mark);
    flow->sent++;
}

/* Packets of flows first, first + SOCKETS, ... below last: all of one socket's in few calls. */
static void send_some(int socket, unsigned first, unsigned last, size_t size)
{
    static uint8_t memory[BATCH][PACKET];
    struct mmsghdr out[BATCH];
    struct iovec vector[BATCH];
    unsigned count = 0;
    memset(out, 0, sizeof out);
    for (unsigned i = first; i < last; i += SOCKETS) {
        fill(memory[count], i);
        vector[count] = (struct iovec){memory[count], size};
        out[count].msg_hdr.msg_iov = &vector[count];
        out[count].msg_hdr.msg_iovlen = 1;
        out[count].msg_hdr.msg_name = &flows[i].to;
        out[count].msg_hdr.msg_namelen = sizeof flows[i].to;
        if (++count == BATCH) {
            sendmmsg(socket, out, count, 0);
            count = 0;
        }
    }
    if (count > 0)
        sendmmsg(socket, out, count, 0);
}

static void read_flows(void)
{
    char ip[64];
    unsigned port;
    while (scanf("%63s %u", ip, &port) == 2) {
        flows = realloc(flows, (flow_count + 1) * sizeof *flows);
        struct flow *flow = &flows[flow_count++];
        memset(flow, 0, sizeof *flow);
        flow->to.sin_family = AF_INET;
        flow->to.sin_port = htons((uint16_t)port);
        inet_pton(AF_INET, ip, &flow->to.sin_addr);
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile(double part)
{
    return sample_count == 0 ? 0 : samples[(unsigned)(part * (sample_count - 1))];
}

static void report(void)
{
    uint64_t sent = 0, heard = 0, all = 0, silent = 0;
    for (unsigned i = 0; i < flow_count; i++) {
        sent += flows[i].sent > LEARNING ? flows[i].sent - LEARNING : 0;
        heard += flows[i].measured;
        all += flows[i].heard;
        silent += flows[i].heard == 0;
    }
    qsort(samples, sample_count, sizeof *samples, by_size);
    printf("{\"sent\": %llu, \"heard\": %llu, \"all\": %llu, \"silent_flows\": %llu, \"reordered\": %llu, \"foreign\": %llu, "
           "\"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n",
           (unsigned long long)sent, (unsigned long long)heard, (unsigned long long)all, (unsigned long long)silent,
           (unsigned long long)reordered, (unsigned long long)foreign, percentile(0.5), percentile(0.99),
           percentile(1));
}

int main(int argc, char **argv)
{
    int sockets[SOCKETS];
    if (argc != 6)
        return 2;
    double start_s = atof(argv[2]), seconds = atof(argv[3]);
    int64_t interval = atoll(argv[4]) * 1000, start = (int64_t)(start_s * 1e9);
    size_t size = (size_t)atoi(argv[5]);
    int64_t end = start + (int64_t)(seconds * 1e9);
    read_flows();
    samples = malloc(MOST_SAMPLES * sizeof *samples);
    for (int i = 0; i < SOCKETS; i++)
        sockets[i] = open_socket(argv[1], i);
    while (now_ns() < start)
        hear(sockets, 1);
    /* Every interval is cut into slices of a millisecond, each of which sends its share of the flows. */
    int64_t slices = interval / 1000000 > 0 ? interval / 1000000 : 1;
    for (int64_t slice = 0; start + slice * (interval / slices) < end; slice++) {
        int64_t due = start + slice * (interval / slices);
        for (int64_t left; (left = due - now_ns()) > 0;)
            hear(sockets, left > 1000000 ? 1 : 0);
        unsigned part = (unsigned)(slice % slices);
        unsigned first = (unsigned)(flow_count * (uint64_t)part / (uint64_t)slices);
        unsigned last = (unsigned)(flow_count * (uint64_t)(part + 1) / (uint64_t)slices);
        for (unsigned i = 0; i < SOCKETS && first + i < last; i++)
            send_some(sockets[(first + i) % SOCKETS], first + i, last, size);
        hear(sockets, 0);
    }
    for (int64_t rest = now_ns() + 500000000; now_ns() < rest;)
        hear(sockets, 10);
    report();
    return 0;
}

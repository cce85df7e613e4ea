/* STUN Binding messages, as far as they decide where they go and whether they are believed; and the checks
 * and answers of an agent.
 *
 * The twin of jingle_hnt/relay/stun.py and stun_writing.py; property tests hold them together. */
#ifndef HNT_STUN_H
#define HNT_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules/latch.h"

enum { HNT_TRANSACTION_AT = 8, HNT_TRANSACTION = 12, HNT_ROLE_CONFLICT = 487 };

/* The longest that is written here: a check with the longest username. */
enum { HNT_LONGEST_OWN = 20 + 4 + 516 + 8 + 12 + 4 + 24 + 8 };

enum hnt_role { HNT_ROLE_UNSAID = 0, HNT_CONTROLLED = 1, HNT_CONTROLLING = 2 };

enum hnt_stun_class { HNT_REQUEST = 0, HNT_INDICATION = 1, HNT_SUCCESS = 2, HNT_ERROR = 3 };

/* `transaction` and `username` point into the datagram; `integrity_at` is 0 where nothing signs it,
 * `fingerprint_at` where there is no checksum. */
struct hnt_binding_message {
    const uint8_t *transaction, *username;
    uint16_t username_length, integrity_at, fingerprint_at;
    uint16_t error; /* 0: none */
    uint8_t kind, role;
    bool nominates;
    uint64_t tie_breaker;
};

/* False where the datagram is no Binding message. `read` leaves the checksum unread: what a stranger sends is
 * mostly known by its name, and is to cost no more. */
bool hnt_stun_parse(const uint8_t *data, size_t length, struct hnt_binding_message *out);
bool hnt_stun_read(const uint8_t *data, size_t length, struct hnt_binding_message *out);
bool hnt_stun_is_intact(const uint8_t *data, const struct hnt_binding_message *message);
bool hnt_stun_is_signed(const uint8_t *data, const struct hnt_binding_message *message,
                        const uint8_t *password, size_t length);

/* These write into `out`, which has room for HNT_LONGEST_OWN bytes, and return the length. */

struct hnt_password {
    const uint8_t *bytes;
    size_t length;
};

size_t hnt_stun_check(uint8_t *out, const uint8_t *transaction, const uint8_t *username, size_t username_length,
                      struct hnt_password password, bool controlling, uint64_t tie_breaker, bool nominates);
size_t hnt_stun_success(uint8_t *out, const uint8_t *transaction, const struct hnt_address *source,
                        struct hnt_password password);
size_t hnt_stun_role_conflict(uint8_t *out, const uint8_t *transaction, struct hnt_password password);

#endif

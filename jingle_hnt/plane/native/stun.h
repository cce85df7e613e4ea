/* STUN Binding messages, as far as they decide where they go and whether they are believed.
 *
 * The twin of jingle_hnt/relay/stun.py; a property test holds the two together. */
#ifndef HNT_STUN_H
#define HNT_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HNT_TRANSACTION = 12 };

enum hnt_stun_class { HNT_REQUEST = 0, HNT_INDICATION = 1, HNT_SUCCESS = 2, HNT_ERROR = 3 };

/* `transaction` and `username` point into the datagram; `integrity_at` is 0 where nothing signs it. */
struct hnt_binding_message {
    const uint8_t *transaction, *username;
    uint16_t username_length, integrity_at;
    uint8_t kind;
    bool nominates;
};

/* False where the datagram is no Binding message. */
bool hnt_stun_parse(const uint8_t *data, size_t length, struct hnt_binding_message *out);
bool hnt_stun_is_signed(const uint8_t *data, const struct hnt_binding_message *message,
                        const uint8_t *password, size_t length);

#endif

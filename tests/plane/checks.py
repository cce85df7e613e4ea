"""Checks and answers of ICE agents, written by aioice's codec."""

from aioice import stun

TRANSACTION = b"transaction1"


def check(
    username: str,
    password: str,
    nominates: bool = False,
    transaction: bytes = TRANSACTION,
    kind: stun.Class = stun.Class.REQUEST,
    role: str | None = None,
    tie_breaker: int = 7,
    error: int | None = None,
) -> bytes:
    """A Binding request, or another class of Binding message, signed with this password."""
    message = stun.Message(stun.Method.BINDING, kind, transaction)
    if kind is stun.Class.REQUEST:
        message.attributes["USERNAME"] = username
        message.attributes["PRIORITY"] = 1845501695
    if role is not None:
        message.attributes[role] = tie_breaker
    if error is not None:
        message.attributes["ERROR-CODE"] = (error, "no")
    if nominates:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password.encode())
    return bytes(message)


def answer(password: str, transaction: bytes = TRANSACTION) -> bytes:
    """A success response, signed by who was asked."""
    return check("", password, transaction=transaction, kind=stun.Class.RESPONSE)


def believed(datagram: bytes, password: bytes) -> stun.Message:
    """A message as aioice reads it; raises ValueError where it was not signed with this."""
    message = stun.parse_message(datagram)
    if not message.check_message_integrity(password):
        raise ValueError("this was signed with another password, or not at all")
    return message

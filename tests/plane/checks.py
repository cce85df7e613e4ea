"""Checks and answers of ICE agents, written by aioice's codec."""

from aioice import stun

TRANSACTION = b"transaction1"


def check(
    username: str,
    password: str,
    nominates: bool = False,
    transaction: bytes = TRANSACTION,
    kind: stun.Class = stun.Class.REQUEST,
) -> bytes:
    """A Binding request, or another class of Binding message, signed with this password."""
    message = stun.Message(stun.Method.BINDING, kind, transaction)
    if kind is stun.Class.REQUEST:
        message.attributes["USERNAME"] = username
        message.attributes["PRIORITY"] = 1845501695
    if nominates:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password.encode())
    return bytes(message)


def answer(password: str, transaction: bytes = TRANSACTION) -> bytes:
    """A success response, signed by who was asked."""
    return check("", password, transaction=transaction, kind=stun.Class.RESPONSE)

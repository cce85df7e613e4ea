"""The <jingle/> element as a value (XEP-0166 section 7)."""

from dataclasses import dataclass
from enum import StrEnum

from jingle_hnt.model.content import Content
from jingle_hnt.model.jid import JID


class Action(StrEnum):
    """Every action of XEP-0166 section 7.2."""

    CONTENT_ACCEPT = "content-accept"
    CONTENT_ADD = "content-add"
    CONTENT_MODIFY = "content-modify"
    CONTENT_REJECT = "content-reject"
    CONTENT_REMOVE = "content-remove"
    DESCRIPTION_INFO = "description-info"
    SECURITY_INFO = "security-info"
    SESSION_ACCEPT = "session-accept"
    SESSION_INFO = "session-info"
    SESSION_INITIATE = "session-initiate"
    SESSION_TERMINATE = "session-terminate"
    TRANSPORT_ACCEPT = "transport-accept"
    TRANSPORT_INFO = "transport-info"
    TRANSPORT_REJECT = "transport-reject"
    TRANSPORT_REPLACE = "transport-replace"


class Info(StrEnum):
    """Session-info payloads that a middlebox understands (XEP-0167 section 8)."""

    ACTIVE = "active"
    HOLD = "hold"
    MUTE = "mute"
    RINGING = "ringing"
    UNHOLD = "unhold"
    UNMUTE = "unmute"


class ReasonCondition(StrEnum):
    """Reasons that we give ourselves or that steer us (XEP-0166 section 7.4)."""

    SUCCESS = "success"
    BUSY = "busy"
    CANCEL = "cancel"
    CONNECTIVITY_ERROR = "connectivity-error"
    DECLINE = "decline"
    EXPIRED = "expired"
    FAILED_TRANSPORT = "failed-transport"
    GENERAL_ERROR = "general-error"
    GONE = "gone"
    MEDIA_ERROR = "media-error"
    SECURITY_ERROR = "security-error"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a session or content ends; `condition` is the element's name, whatever it is."""

    condition: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Jingle:
    """One Jingle request; attributes and children that it lacks are None or empty.

    `action` is None for one of an extension. `is_whole` is False where a part that may hold
    addresses was not read: the stanza can be passed, and not be rewritten.
    """

    action: Action | None
    sid: str
    initiator: JID | None = None
    responder: JID | None = None
    contents: tuple[Content, ...] = ()
    reason: Reason | None = None
    info: Info | None = None
    is_whole: bool = True

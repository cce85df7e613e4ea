"""Contents of a Jingle session and their transports (XEP-0166 section 7.3, XEP-0177)."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar

from jingle_hnt.model.address import TransportAddress

RAW_UDP = "urn:xmpp:jingle:transports:raw-udp:1"
ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"
ICE = "urn:xmpp:jingle:transports:ice:0"
"""The namespaces of XEP-0177, XEP-0176 and XEP-0371."""

RTP = 1
RTCP = 2
COMPONENTS = (RTP, RTCP)
"""The components of an RTP content; both are always offered (XEP-0167 section 4)."""


class Creator(StrEnum):
    """The party that put a content into the session; it never changes (XEP-0166 section 7.3)."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class Senders(StrEnum):
    """The parties that send media in a content (XEP-0166 section 7.3)."""

    BOTH = "both"
    INITIATOR = "initiator"
    RESPONDER = "responder"
    NONE = "none"


class CandidateType(StrEnum):
    """The origin of a candidate's address (XEP-0177 section 5.2)."""

    HOST = "host"
    PRFLX = "prflx"
    RELAY = "relay"
    SRFLX = "srflx"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport address where a party says that it takes media of one component.

    `component` and `generation` are 0 to 255, `id` may be empty where a client sent none.
    `priority` says which one of an ICE agent's candidates is the better (RFC 8445 section 5.1.2).
    """

    component: int
    generation: int
    address: TransportAddress
    id: str = ""
    type: CandidateType | None = None
    priority: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ContentKey:
    """The key of a content in its session (XEP-0166 section 7.3)."""

    creator: Creator
    name: str

    def __str__(self) -> str:
        return f"{self.creator}:{self.name}"


@dataclass(frozen=True, slots=True)
class RawUdp:
    """A raw-udp:1 transport (XEP-0177); a client may send it without any candidate.

    `odd` tells that it has others besides, which cannot be read.
    """

    candidates: tuple[Candidate, ...] = ()
    odd: bool = field(default=False, compare=False)
    namespace: ClassVar[str] = RAW_UDP

    @property
    def plain(self) -> tuple[Candidate, ...]:
        """Where its sender takes media without asking who comes."""
        return self.candidates

    @property
    def generation(self) -> int | None:
        """The greatest generation among the candidates; None without candidates."""
        return max((c.generation for c in self.candidates), default=None)

    def followed_by(self, ours: tuple[Candidate, ...]) -> "RawUdp":
        """Return what makes it obsolete: ours in a greater generation (XEP-0177 section 5.3)."""
        return RawUdp(tuple(replace(c, generation=c.generation + 1) for c in ours))


@dataclass(frozen=True, slots=True)
class Ice:
    """An ice-udp:1 or ice:0 transport (XEP-0176, XEP-0371), as far as a relay has to know it.

    `ufrag` and `pwd` are empty where the stanza lacks one of them. `candidates` are those over UDP
    with a literal address, `components` and `generation` of all candidates of the stanza.
    """

    namespace: str
    ufrag: str = ""
    pwd: str = field(default="", repr=False)
    candidates: tuple[Candidate, ...] = ()
    components: frozenset[int] = frozenset()
    generation: int | None = None
    plain: ClassVar[None] = None

    def followed_by(self, ours: tuple[Candidate, ...]) -> "Ice":
        """Return what adds ours to it, as in a trickle (XEP-0176 section 5.6)."""
        return replace(self, candidates=ours)


@dataclass(frozen=True, slots=True)
class OtherTransport:
    """A transport that is passed on untouched; only its namespace is known."""

    namespace: str
    plain: ClassVar[None] = None

    def followed_by(self, ours: tuple[Candidate, ...]) -> None:
        """Return None: nothing is added to it."""


Transport = RawUdp | Ice | OtherTransport


@dataclass(frozen=True, slots=True)
class OwnTransport:
    """The transport that the relay writes in place of a party's, where it terminates ICE.

    `namespace` is that of the ICE transport that is written; an empty one means raw-udp:1, which
    has no `ufrag` and `pwd`.
    """

    candidates: tuple[Candidate, ...] = ()
    namespace: str = ""
    ufrag: str = ""
    pwd: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class TagKey:
    """The authentication keys of one SDES key, which check its tags, in hexadecimal.

    `tag_bytes` is the length of an RTP tag, `mki_bytes` that of what stands before a tag
    (RFC 3711 section 3.1).
    """

    rtp: str = field(repr=False)
    rtcp: str = field(repr=False)
    tag_bytes: int = 10
    mki_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Crypto:
    """A <crypto/> (XEP-0167 section 7); `keys` is empty where only the parties can check it."""

    tag: str
    keys: tuple[TagKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """One <content/> of one stanza; what the stanza does not say is None.

    `media` is the media attribute of an RTP description (XEP-0167), such as ``audio``; `mux` tells
    that it has <rtcp-mux/>: RTP and RTCP on one port (RFC 5761); `several` that it describes more
    RTP streams than one for the port: retransmission or repair (RFC 4588, RFC 8627), or several
    sources (XEP-0339); `events` are the payload types of key presses that it describes (RFC 4733).
    `crypto` are the ways to protect the media that it offers or has chosen.
    """

    key: ContentKey
    senders: Senders | None = None
    transport: Transport | None = None
    media: str | None = None
    mux: bool = False
    several: bool = False
    events: frozenset[int] = frozenset()
    crypto: tuple[Crypto, ...] = ()

    @property
    def plain(self) -> tuple[Candidate, ...] | None:
        """Where its sender takes media without asking who comes; None where it is not said so."""
        return None if self.transport is None else self.transport.plain

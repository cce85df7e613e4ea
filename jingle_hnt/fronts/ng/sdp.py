"""A session description, read line by line (RFC 8866), as far as a relay has to know it.

Every line keeps its bytes and its place, so that `rewriting` can change some and leave all others
as they came. sdp-transform was looked at for the reading and is the oracle of the tests instead: it
forgets where a line stood, turns every value that looks like a number into one (an ice-pwd of
``0012`` becomes 12, a ufrag of ``1e5`` becomes 100000.0), drops all but the first session parameter
of a crypto line, and ends lines at every character that Unicode calls a line break.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from jingle_hnt.fronts.ng.words import BAD_SDP, Refused
from jingle_hnt.model.address import IPAddress, TransportAddress, literal
from jingle_hnt.model.content import RTP, Candidate, CandidateType, Crypto
from jingle_hnt.relay.srtp import read_keys

MOST_LINES = 1000
MOST_MEDIA = 32
MOST_CANDIDATES, MOST_CRYPTOS = 64, 16
"""Of one description, of which no phone's or browser's comes near; and of one of its media."""

DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})

_RTP_PROTOCOLS = ("RTP/", "UDP/TLS/RTP/", "UDP/RTP/")
_OPAQUE_PROTOCOLS = frozenset({"UDPTL", "UDP", "UDP/UDPTL", "UDP/DTLS/SCTP", "UDP/TLS/UDPTL"})

ICE_ATTRIBUTES = frozenset(
    {
        "ice-ufrag",
        "ice-pwd",
        "ice-options",
        "ice-lite",
        "ice-mismatch",
        "ice-pacing",
        "candidate",
        "end-of-candidates",
        "remote-candidates",
    }
)
"""Attributes that are about ICE and nothing else (RFC 8839)."""


@dataclass(frozen=True, slots=True)
class SdpLine:
    """One line: its letter, its value, and the bytes that it ends with.

    The text is the line's bytes, each as the character of that number. `letter` is empty where the
    line is none of SDP, such as an empty one.
    """

    letter: str
    value: str
    text: str
    ending: str

    @property
    def attribute(self) -> str:
        """The name of an attribute, empty for any other line."""
        return self.value.partition(":")[0].strip().lower() if self.letter == "a" else ""

    @property
    def attribute_value(self) -> str:
        return self.value.partition(":")[2].strip()

    @property
    def raw(self) -> bytes:
        return (self.text + self.ending).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Connection:
    """A ``c=`` line: where media is to be sent. `ip` is None for a host name."""

    at: int
    ip: IPAddress | None

    @property
    def is_zero(self) -> bool:
        """Whether it is ``0.0.0.0``, the old way to put a call on hold (RFC 3264 section 8.4)."""
        return self.ip is not None and self.ip.is_unspecified


@dataclass(frozen=True, slots=True)
class Media:
    """One ``m=`` line and what belongs to it; what it does not say itself is the session's.

    `begin` and `end` are the places of its first line and of the one behind its last. `port` is 0
    where the media is refused or ended. `rtcp` is what ``a=rtcp`` says (RFC 3605), 0 where there is
    none. `several` and `events` are as in `model.content.Content`.
    """

    index: int
    begin: int
    end: int
    kind: str
    port: int
    ports: int
    protocol: str
    formats: tuple[str, ...]
    connection: Connection | None = None
    direction: str = "sendrecv"
    mid: str = ""
    rtcp: int = 0
    rtcp_ip: IPAddress | None = None
    mux: bool = False
    bundle_only: bool = False
    ufrag: str = ""
    pwd: str = field(default="", repr=False)
    candidates: tuple[Candidate, ...] = ()
    crypto: tuple[Crypto, ...] = ()
    has_fingerprint: bool = False
    several: bool = False
    events: frozenset[int] = frozenset()

    @property
    def is_rtp(self) -> bool:
        return self.protocol.upper().startswith(_RTP_PROTOCOLS)

    @property
    def is_relayable(self) -> bool:
        """Whether its media goes by UDP; what goes by TCP is left as it is."""
        return self.is_rtp or self.protocol.upper() in _OPAQUE_PROTOCOLS

    @property
    def has_ice(self) -> bool:
        return bool(self.ufrag and self.pwd)

    @property
    def ip(self) -> IPAddress | None:
        """Where its media is to be sent; None where no address says that."""
        known = self.connection
        return None if known is None or known.is_zero else known.ip

    @property
    def is_held(self) -> bool:
        """Whether it says that nothing is to be sent, or nothing but music."""
        zero = self.connection is not None and self.connection.is_zero
        return zero or self.direction in ("sendonly", "inactive")

    def addresses(self) -> dict[int, TransportAddress]:
        """Its transport address for each component that it names."""
        if self.ip is None or not self.port:
            return {}
        rtp = TransportAddress(self.ip, self.port)
        if self.mux or not self.is_rtp:
            return {RTP: rtp}
        port = self.rtcp or self.port + 1
        if port > 65535:
            return {RTP: rtp}
        return {RTP: rtp, 2: TransportAddress(self.rtcp_ip or self.ip, port)}


@dataclass(frozen=True, slots=True)
class Description:
    """A description: its lines, and what they say.

    `bundles` are the mids of each BUNDLE group (RFC 8843), the first of which carries them all.
    """

    lines: tuple[SdpLine, ...]
    media: tuple[Media, ...]
    connection: Connection | None = None
    origin: int | None = None
    bundles: tuple[tuple[str, ...], ...] = ()

    @property
    def raw(self) -> bytes:
        return b"".join(line.raw for line in self.lines)

    def leader(self, media: Media) -> Media:
        """The media whose port carries this one's: the first of its BUNDLE group, or itself."""
        for mids in self.bundles:
            if media.mid and media.mid in mids:
                carried = [m for m in self.media if m.mid in mids and m.port]
                return next((m for mid in mids for m in carried if m.mid == mid), media)
        return media


def read(sdp: bytes) -> Description:
    """Read a description. Raises Refused where it cannot be relayed because it cannot be read."""
    lines = tuple(_line(raw) for raw in sdp.splitlines(keepends=True))
    if len(lines) > MOST_LINES:
        raise Refused(f"{BAD_SDP}: it has more than {MOST_LINES} lines")
    if not lines or lines[0].letter != "v":
        raise Refused(f"{BAD_SDP}: it does not begin with v=")
    starts = [at for at, line in enumerate(lines) if line.letter == "m"]
    if len(starts) > MOST_MEDIA:
        raise Refused(f"{BAD_SDP}: it has more than {MOST_MEDIA} m= lines")
    ends = [*starts[1:], len(lines)] if starts else []
    head = range(starts[0] if starts else len(lines))
    session = _Section(lines, head)
    media = tuple(
        _media(lines, index, range(begin, end), session)
        for index, (begin, end) in enumerate(zip(starts, ends, strict=True))
    )
    origin = next((at for at in head if lines[at].letter == "o"), None)
    return Description(lines, media, session.connection, origin, tuple(session.bundles))


def _line(raw: bytes) -> SdpLine:
    whole = raw.decode("latin-1")
    text = whole.rstrip("\r\n")
    is_sdp = len(text) >= 2 and text[1] == "=" and text[0].isalpha()
    letter, value = (text[0], text[2:]) if is_sdp else ("", "")
    return SdpLine(letter, value, text, whole[len(text) :])


class _Section:
    """What the lines of the session, or of one media, say."""

    def __init__(self, lines: Sequence[SdpLine], places: Iterable[int]) -> None:
        self.connection: Connection | None = None
        self.direction = self.ufrag = self.pwd = self.mid = ""
        self.rtcp: tuple[int, IPAddress | None] = (0, None)
        self.names: set[str] = set()
        self.candidates: list[Candidate] = []
        self.crypto: list[Crypto] = []
        self.bundles: list[tuple[str, ...]] = []
        self.events: set[int] = set()
        self.several = False
        self._sources: set[str] = set()
        for at in places:
            line = lines[at]
            if line.letter == "c" and self.connection is None:
                self.connection = Connection(at, _connected(line.value))
            elif line.letter == "a":
                self._attribute(line.attribute, line.attribute_value)

    def _attribute(self, name: str, value: str) -> None:
        self.names.add(name)
        match name:
            case "sendrecv" | "sendonly" | "recvonly" | "inactive":
                self.direction = name
            case "ice-ufrag":
                self.ufrag = value
            case "ice-pwd":
                self.pwd = value
            case "mid":
                self.mid = value
            case "rtcp":
                self.rtcp = _rtcp(value)
            case "group":
                semantics, *mids = value.split()[: MOST_MEDIA + 1] or [""]
                if semantics.upper() == "BUNDLE":
                    self.bundles.append(tuple(mids))
            case "candidate" if len(self.candidates) < MOST_CANDIDATES:
                candidate = read_candidate(value)
                if candidate is not None:
                    self.candidates.append(candidate)
            case "crypto":
                # Of more lines than are read nothing is certain, so nothing is checked.
                is_read = len(self.crypto) < MOST_CRYPTOS
                self.crypto.append(_crypto(value) if is_read else Crypto(value[:8]))
            case "rtpmap":
                self._codec(value)
            case "ssrc":
                self._sources.add(value.partition(" ")[0])
                self.several = self.several or len(self._sources) > 1
            case "ssrc-group" | "simulcast" | "rid":
                self.several = True

    def _codec(self, value: str) -> None:
        number, _, encoding = value.partition(" ")
        name = encoding.strip().partition("/")[0].lower()
        if name in ("telephone-event", "tone") and _is_number(number, 127):
            self.events.add(int(number))
        elif name in ("rtx", "ulpfec", "flexfec", "flexfec-03", "parityfec"):
            self.several = True


def _media(lines: Sequence[SdpLine], index: int, places: range, session: _Section) -> Media:
    own = _Section(lines, places)
    words = lines[places.start].value.split()
    if len(words) < 3:
        raise Refused(f"{BAD_SDP}: m= line {index + 1} has no kind, port and protocol")
    port, slash, ports = words[1].partition("/")
    if not _is_number(port, 65535) or (slash and not _is_number(ports, 65535)):
        raise Refused(f"{BAD_SDP}: m= line {index + 1} has no port")
    rtcp, rtcp_ip = own.rtcp
    return Media(
        index=index,
        begin=places.start,
        end=places.stop,
        kind=words[0],
        port=int(port),
        ports=int(ports) if slash else 1,
        protocol=words[2],
        formats=tuple(words[3:]),
        connection=own.connection or session.connection,
        direction=own.direction or session.direction or "sendrecv",
        mid=own.mid,
        rtcp=rtcp,
        rtcp_ip=rtcp_ip,
        mux="rtcp-mux" in own.names or "rtcp-mux-only" in own.names,
        bundle_only="bundle-only" in own.names,
        ufrag=own.ufrag or session.ufrag,
        pwd=own.pwd or session.pwd,
        candidates=tuple(own.candidates),
        crypto=tuple(own.crypto),
        has_fingerprint="fingerprint" in own.names | session.names,
        several=own.several,
        events=frozenset(own.events),
    )


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= most


def _connected(value: str) -> IPAddress | None:
    """The address of ``IN IP4 198.51.100.1``, or with a TTL behind it; None for a host name."""
    words = value.split()
    if len(words) < 3 or words[0].upper() != "IN":
        return None
    return _address(words[2].partition("/")[0])


def _address(text: str) -> IPAddress | None:
    try:
        return literal(text)
    except ValueError:
        return None


def _rtcp(value: str) -> tuple[int, IPAddress | None]:
    words = value.split()
    if not words or not _is_number(words[0], 65535):
        return 0, None
    ip = _address(words[3]) if len(words) > 3 else None
    return int(words[0]), None if ip is None or ip.is_unspecified else ip


def _crypto(value: str) -> Crypto:
    """A ``crypto`` attribute (RFC 4568 section 9.1): tag, suite, keys, session parameters."""
    words = value.split(maxsplit=3)
    if len(words) < 3:
        return Crypto(words[0] if words else "")
    tag, suite, keys, *session = words
    return Crypto(tag, read_keys(suite, keys, " ".join(session)))


def read_candidate(value: str) -> Candidate | None:
    """A ``candidate`` attribute (RFC 8839 section 5.1); None for one that is not of a literal
    address over UDP."""
    words = value.split()
    if len(words) < 8 or words[2].lower() != "udp" or words[6].lower() != "typ":
        return None
    component, priority, port = words[1], words[3], words[5]
    ip = _address(words[4])
    numbers = _is_number(component, 255) and _is_number(port, 65535) and int(port) > 0
    if ip is None or not numbers or not _is_number(priority, (1 << 32) - 1):
        return None
    kinds = {kind.value: kind for kind in CandidateType}
    address = TransportAddress(ip, int(port))
    kind = kinds.get(words[7].lower())
    return Candidate(int(component), 0, address, words[0], kind, int(priority))


def without_ice(media: Media) -> Media:
    """The same where ICE is removed on the way."""
    return replace(media, ufrag="", pwd="", candidates=())

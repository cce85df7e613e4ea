"""Exchanges in which clients do what they are known or reported to do beside the specifications.

Each has a name and stanzas in order. All values are made up; ALICE calls BOB.
"""

from collections.abc import Iterator

ALICE, BOB = "alice@example.org/phone", "bob@example.org/phone"
Exchange = tuple[str, list[str]]

JINGLE = "urn:xmpp:jingle:1"
ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"
RAW_UDP = "urn:xmpp:jingle:transports:raw-udp:1"
RTP = "urn:xmpp:jingle:apps:rtp:1"
RTP_INFO = "urn:xmpp:jingle:apps:rtp:info:1"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
SID = "k7"
LARGE = "x" * 70_000

_CREDENTIALS = {
    ALICE: "ufrag='aliU' pwd='{}'".format("alice" * 5),
    BOB: "ufrag='bobU' pwd='bobobobob'",
}
_HOSTS = {ALICE: "192.0.2.11", BOB: "192.0.2.22"}
_PAYLOADS = {
    "audio": "<payload-type id='8' name='PCMA' clockrate='8000'/>",
    "video": "<payload-type id='96' name='VP8' clockrate='90000'/>",
}
_FINGERPRINT = f"<fingerprint xmlns='{DTLS}' hash='sha-256' setup='actpass'>AA:BB</fingerprint>"


def attributes(**values: str | None) -> str:
    """Attributes as text; one that is None is left out."""
    named = ((name.replace("_", "-"), value) for name, value in values.items())
    return "".join(f" {name}='{value}'" for name, value in named if value is not None)


def stanza(sender: str, action: str, inside: str = "", sid: str = SID, **more: str | None) -> str:
    """A Jingle request to the other party."""
    to = BOB if sender == ALICE else ALICE
    written = attributes(xmlns=JINGLE, action=action, sid=sid, **more)
    return f"<iq type='set' from='{sender}' to='{to}'><jingle{written}>{inside}</jingle></iq>"


def content(
    inside: str = "",
    name: str | None = "0",
    creator: str | None = "initiator",
    senders: str | None = "both",
) -> str:
    """A <content/>."""
    return f"<content{attributes(creator=creator, name=name, senders=senders)}>{inside}</content>"


def bare(inside: str = "", name: str | None = "0", creator: str | None = "initiator") -> str:
    """A <content/> that does not say who sends."""
    return content(inside, name, creator, None)


def described(media: str = "audio", inside: str = "<rtcp-mux/>") -> str:
    """An RTP description."""
    return f"<description xmlns='{RTP}' media='{media}'>{_PAYLOADS[media]}{inside}</description>"


class Kind:
    """Writes transports of one kind."""

    name: str

    def transport(self, sender: str, candidates: str | None = None) -> str:
        """A transport of this sender, with its usual candidates if none are given."""
        raise NotImplementedError

    def candidate(self, sender: str, number: int = 1, **odd: str | None) -> str:
        """A candidate; `odd` are the attributes that differ from the usual."""
        raise NotImplementedError


class Ice(Kind):
    name = "ice"

    def transport(self, sender: str, candidates: str | None = None) -> str:
        inside = self.candidate(sender) if candidates is None else candidates
        return self.by(_CREDENTIALS[sender], _FINGERPRINT + inside)

    def by(self, credentials: str, inside: str) -> str:
        """A transport with these credentials."""
        return f"<transport xmlns='{ICE_UDP}' {credentials}>{inside}</transport>"

    def candidate(self, sender: str, number: int = 1, **odd: str | None) -> str:
        usual: dict[str, str | None] = {
            "component": "1",
            "foundation": "1",
            "generation": "0",
            "id": f"c{number}",
            "ip": _HOSTS[sender],
            "network": "0",
            "port": str(40000 + number),
            "priority": "2130706431",
            "protocol": "udp",
            "type": "host",
        }
        return f"<candidate{attributes(**{**usual, **odd})}/>"


class Raw(Kind):
    name = "raw"

    def transport(self, sender: str, candidates: str | None = None) -> str:
        both = self.candidate(sender) + self.candidate(sender, 2)
        inside = both if candidates is None else candidates
        return f"<transport xmlns='{RAW_UDP}'>{inside}</transport>"

    def candidate(self, sender: str, number: int = 1, **odd: str | None) -> str:
        usual: dict[str, str | None] = {
            "component": str(number),
            "generation": "0",
            "id": f"r{number}",
            "ip": _HOSTS[sender],
            "port": str(7000 + number),
        }
        return f"<candidate{attributes(**{**usual, **odd})}/>"


ICE, RAW = Ice(), Raw()
KINDS: tuple[Kind, ...] = (ICE, RAW)


def offer(kind: Kind, **of_content: str | None) -> str:
    """Alice's."""
    inside = content(described() + kind.transport(ALICE), **of_content)
    return stanza(ALICE, "session-initiate", inside, initiator=ALICE)


def accept(kind: Kind, **of_content: str | None) -> str:
    """Bob's."""
    inside = content(described() + kind.transport(BOB), **of_content)
    return stanza(BOB, "session-accept", inside, responder=BOB)


def video(kind: Kind, sender: str, creator: str | None = "initiator", name: str = "1") -> str:
    """A content that is added."""
    return content(described("video") + kind.transport(sender), name, creator)


def end(sender: str = ALICE) -> str:
    """The hang-up."""
    return stanza(sender, "session-terminate", "<reason><success/></reason>")


def exchanges() -> Iterator[Exchange]:
    """All of them; names are unique."""
    for kind in KINDS:
        for name, stanzas in (*_contents(kind), *_odd_order(kind), *_names(kind)):
            yield f"{name}-{kind.name}", stanzas
    yield from _candidates()
    yield from _agents()
    yield from _others()


def _in_call(kind: Kind, *stanzas: str) -> list[str]:
    return [offer(kind), accept(kind), *stanzas, end()]


def _contents(kind: Kind) -> Iterator[Exchange]:
    """Creators and senders."""
    mine, theirs = kind.transport(ALICE), kind.transport(BOB)
    yield (
        "callee-adds-video-as-initiator",
        _in_call(
            kind,
            stanza(BOB, "content-add", video(kind, BOB)),
            stanza(ALICE, "content-accept", video(kind, ALICE)),
            stanza(BOB, "content-modify", content("", "1", senders="initiator")),
            stanza(BOB, "content-remove", bare("", "1")),
        ),
    )
    yield (
        "callee-adds-video-of-the-same-name",
        _in_call(
            kind,
            stanza(BOB, "content-add", video(kind, BOB, "responder", "0")),
            stanza(ALICE, "content-accept", video(kind, ALICE, "responder", "0")),
        ),
    )
    yield (
        "everybody-is-the-creator",
        [
            offer(kind),
            accept(kind, creator="responder"),
            stanza(BOB, "transport-info", bare(theirs, creator="responder")),
            stanza(ALICE, "transport-info", bare(mine)),
            stanza(BOB, "content-modify", content("", "0", "responder", "responder")),
            end(),
        ],
    )
    yield (
        "nobody-is-the-creator",
        [
            offer(kind, creator=None),
            accept(kind, creator=None),
            stanza(ALICE, "transport-info", bare(mine, creator=None)),
            stanza(BOB, "transport-info", bare(theirs, creator=None)),
            stanza(ALICE, "content-add", video(kind, ALICE, None)),
            stanza(BOB, "content-accept", video(kind, BOB, None)),
            stanza(ALICE, "content-modify", content("", "1", None, "none")),
            stanza(ALICE, "content-remove", bare("", "1", None)),
            end(),
        ],
    )
    yield "unknown-creators", [offer(kind, creator="caller"), accept(kind, creator=""), end()]
    for senders in ("initiator", "responder", "none", "rejected", ""):
        stanzas = [offer(kind), accept(kind, senders=senders), end()]
        yield f"accept-says-senders-{senders or 'nothing'}", stanzas
    yield (
        "senders-sideways",
        [
            offer(kind, senders="sideways"),
            accept(kind, senders="sideways"),
            stanza(ALICE, "content-modify", content("", senders="sideways")),
            end(),
        ],
    )
    yield (
        "rejected-without-contents",
        _in_call(
            kind,
            stanza(BOB, "content-add", video(kind, BOB, "responder")),
            stanza(ALICE, "content-reject", "<reason><failed-application/></reason>"),
        ),
    )
    yield "removed-before-the-end", _in_call(kind, stanza(ALICE, "content-remove", bare()))
    yield (
        "names-twice",
        [
            stanza(ALICE, "session-initiate", 2 * content(described() + mine)),
            stanza(BOB, "session-accept", 2 * content(described() + theirs)),
            end(),
        ],
    )
    yield (
        "names-nothing",
        [
            stanza(ALICE, "session-initiate", content(described() + mine, "")),
            stanza(BOB, "session-accept", content(described() + theirs, None)),
            stanza(ALICE, "transport-info", bare(mine, None, None)),
            end(),
        ],
    )
    yield (
        "two-transports",
        [
            stanza(ALICE, "session-initiate", content(described() + mine + mine)),
            stanza(BOB, "session-accept", content(described() + theirs + theirs)),
            end(),
        ],
    )
    many = "".join(content(described() + mine, str(n)) for n in range(17))
    yield "seventeen-contents", [stanza(ALICE, "session-initiate", many), end()]


def _odd_order(kind: Kind) -> Iterator[Exchange]:
    """Stanzas that come twice, late, early, or of which the offer was not seen."""
    mine, theirs = kind.transport(ALICE), kind.transport(BOB)
    add = stanza(ALICE, "content-add", video(kind, ALICE))
    added = stanza(BOB, "content-accept", video(kind, BOB))
    yield "accepted-twice", _in_call(kind, accept(kind))
    yield "content-accepted-twice", _in_call(kind, add, added, added)
    yield "content-added-twice", _in_call(kind, add, add, added)
    yield (
        "info-crosses-a-reject",
        _in_call(
            kind,
            add,
            stanza(BOB, "content-reject", bare("", "1") + "<reason><decline/></reason>"),
            stanza(ALICE, "transport-info", bare(mine, "1")),
        ),
    )
    yield (
        "after-the-end",
        _in_call(
            kind,
            end(),
            end(BOB),
            stanza(BOB, "transport-info", bare(theirs)),
            stanza(BOB, "session-info"),
            stanza(BOB, "session-accept", content(described())),
            stanza(ALICE, "content-remove", bare()),
        ),
    )
    yield "offered-after-the-end", _in_call(kind, end(), offer(kind))
    yield (
        "offer-unseen",
        [
            accept(kind),
            stanza(BOB, "content-add", video(kind, BOB, "responder")),
            stanza(ALICE, "content-accept", video(kind, ALICE, "responder")),
            end(),
        ],
    )
    yield (
        "addition-unseen",
        _in_call(
            kind,
            stanza(ALICE, "transport-info", bare(mine, "1")),
            added,
            stanza(ALICE, "content-modify", content("", "1", senders="initiator")),
            stanza(BOB, "content-reject", bare("", "2")),
            stanza(ALICE, "content-remove", bare("", "3")),
        ),
    )
    yield (
        "accept-unseen",
        [
            offer(kind),
            stanza(BOB, "transport-info", bare(theirs)),
            stanza(BOB, "content-add", video(kind, BOB)),
            stanza(ALICE, "content-accept", video(kind, ALICE)),
            stanza(ALICE, "description-info", content(described())),
            end(),
        ],
    )
    yield "accept-names-another", [offer(kind), accept(kind, name="9"), end()]
    two = content(described() + theirs) + video(kind, BOB)
    yield "accept-has-one-more", [offer(kind), stanza(BOB, "session-accept", two), end()]
    offered = content(described() + mine) + video(kind, ALICE)
    yield (
        "accept-has-one-less",
        [
            stanza(ALICE, "session-initiate", offered),
            accept(kind),
            stanza(ALICE, "transport-info", bare(mine, "1")),
            end(),
        ],
    )
    yield "offered-twice", [offer(kind), offer(kind), accept(kind), end()]
    yield "offered-in-the-call", _in_call(kind, offer(kind))
    crossing = stanza(BOB, "session-initiate", content(described() + theirs))
    yield "both-call", [offer(kind), crossing, accept(kind), end()]
    yield (
        "transport-comes-later",
        [
            stanza(ALICE, "session-initiate", content(described())),
            stanza(ALICE, "transport-info", bare(mine)),
            stanza(BOB, "session-accept", content(described())),
            stanza(BOB, "transport-info", bare(theirs)),
            end(),
        ],
    )
    yield (
        "transport-replaced",
        _in_call(
            kind,
            stanza(ALICE, "transport-replace", bare(mine)),
            stanza(BOB, "transport-accept", bare(theirs)),
            stanza(BOB, "transport-replace", bare(theirs, creator="responder")),
            stanza(ALICE, "transport-reject", bare(mine, creator="responder")),
            stanza(ALICE, "transport-accept", bare(mine)),
        ),
    )


SELVES = (
    "Alice@Example.ORG/phone",
    "alice@example.org./phone",
    "alice@xn--exmple-cua.org/phone",
    "",
    "focus@auth.example.org/focus",
    "not a jid@@/",
    "example.org",
)


def _names(kind: Kind) -> Iterator[Exchange]:
    """What stands in initiator and responder."""
    for number, name in enumerate(SELVES):
        words = {"initiator": name, "responder": name}
        mine, theirs = kind.transport(ALICE), kind.transport(BOB)
        yield (
            f"initiator-{number}",
            [
                stanza(ALICE, "session-initiate", content(described() + mine), **words),
                stanza(BOB, "session-accept", content(described() + theirs), **words),
                stanza(BOB, "transport-info", bare(theirs), **words),
                stanza(ALICE, "session-terminate", "<reason><success/></reason>", **words),
            ],
        )


ODD: dict[str, dict[str, str | None]] = {
    "zone": {"ip": "fe80::54a9:1%21"},
    "no-port": {"port": None},
    "port-0": {"port": "0"},
    "mdns": {"ip": "5c5f4f1e-0000-4000-8000-000000000000.local"},
    "rtcp": {"component": "rtcp"},
    "no-ip": {"ip": None},
    "empty-ip": {"ip": ""},
    "octal-ip": {"ip": "0177.0.0.1"},
    "generation-300": {"generation": "300"},
    "component-3": {"component": "3"},
}


def _candidates() -> Iterator[Exchange]:
    """One odd candidate beside a good one, and alone."""
    for name, odd in ODD.items():
        for kind in KINDS:
            mine, theirs = (kind.candidate(party, 1, **odd) for party in (ALICE, BOB))
            beside = kind.transport(ALICE, kind.candidate(ALICE) + mine)
            begun = stanza(ALICE, "session-initiate", content(described() + beside))
            yield f"odd-candidate-{name}-{kind.name}", [begun, accept(kind), end()]
            both = {party: kind.transport(party, c) for party, c in ((ALICE, mine), (BOB, theirs))}
            yield (
                f"only-odd-candidates-{name}-{kind.name}",
                [
                    stanza(ALICE, "session-initiate", content(described() + both[ALICE])),
                    stanza(BOB, "session-accept", content(described() + both[BOB])),
                    end(),
                ],
            )


def _agents() -> Iterator[Exchange]:
    """ICE alone."""
    tcp = ICE.candidate(ALICE, 1, protocol="tcp", port="9", tcptype="active")
    only_tcp = content(described() + ICE.transport(ALICE, tcp))
    yield "tcp-only", [stanza(ALICE, "session-initiate", only_tcp), accept(ICE), end()]
    fresh = ICE.by(
        "ufrag='newU' pwd='newnewnewnewnewnewnewnew'", ICE.candidate(ALICE, 3, generation="1")
    )
    answer = ICE.by(
        "ufrag='newB' pwd='wenwenwenwenwenwenwenwen'", ICE.candidate(BOB, 5, generation="1")
    )
    yield (
        "restart-and-what-came-before",
        _in_call(
            ICE,
            stanza(ALICE, "transport-info", bare(fresh)),
            stanza(ALICE, "transport-info", bare(ICE.transport(ALICE))),
            stanza(BOB, "transport-info", bare(answer)),
        ),
    )
    only_ufrag = ICE.by("ufrag='bobU'", ICE.candidate(BOB, 5))
    yield (
        "candidates-without-credentials",
        _in_call(
            ICE,
            stanza(ALICE, "transport-info", bare(ICE.by("", ICE.candidate(ALICE, 3)))),
            stanza(BOB, "transport-info", bare(only_ufrag)),
            stanza(BOB, "transport-info", bare(ICE.by("", "<gathering-complete/>"))),
        ),
    )
    data = "<description xmlns='urn:xmpp:jingle:apps:webrtc-datachannel:1'/>"
    sctp = (
        "<sctpmap xmlns='urn:xmpp:jingle:transports:dtls-sctp:1' number='5000'"
        " protocol='webrtc-datachannel' streams='1024'/>"
    )
    channel = {p: data + ICE.transport(p, sctp + ICE.candidate(p)) for p in (ALICE, BOB)}
    yield (
        "data-channel-then-audio",
        [
            stanza(ALICE, "session-initiate", content(channel[ALICE], "data")),
            stanza(BOB, "session-accept", content(channel[BOB], "data")),
            stanza(ALICE, "content-add", video(ICE, ALICE)),
            stanza(BOB, "content-accept", video(ICE, BOB)),
            end(),
        ],
    )
    sources = (
        "<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='1'/><ssrc-group"
        " xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' semantics='FID'><source ssrc='1'/></ssrc-group>"
        "<rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='1' uri='urn:x'/><rtcp-mux/>"
    )
    group = (
        "<group xmlns='urn:xmpp:jingle:apps:grouping:0' semantics='BUNDLE'>"
        "<content name='0'/><content name='1'/></group>"
    )
    bundle = {
        party: group
        + content(described("audio", sources) + ICE.transport(party))
        + content(described("video", sources) + ICE.transport(party, ""), "1")
        for party in (ALICE, BOB)
    }
    trickled = "".join(bare(ICE.transport(ALICE, ICE.candidate(ALICE, n)), str(n)) for n in (0, 1))
    yield (
        "bundle",
        [
            stanza(ALICE, "session-initiate", bundle[ALICE]),
            stanza(BOB, "session-accept", bundle[BOB]),
            stanza(ALICE, "transport-info", trickled),
            stanza(BOB, "session-info", f"<mute xmlns='{RTP_INFO}' creator='responder' name='1'/>"),
            stanza(BOB, "content-modify", content("", "1", senders="none")),
            end(),
        ],
    )
    muji = "<muji xmlns='urn:xmpp:jingle:muji:0' room='g1@conference.example.org'/>"
    inside = content(described() + ICE.transport(ALICE)) + muji
    yield "muji", [stanza(ALICE, "session-initiate", inside), accept(ICE), end()]


_FILE = (
    "<description xmlns='urn:xmpp:jingle:apps:file-transfer:5'><file><name>{}</name></file>"
    "</description>"
)
_SOCKS = (
    "<transport xmlns='urn:xmpp:jingle:transports:s5b:1' sid='v' mode='tcp'><candidate cid='h1'"
    " host='192.0.2.11' jid='alice@example.org/phone' port='5086' priority='8' type='direct'/>"
    "</transport>"
)
_IN_BAND = "<transport xmlns='urn:xmpp:jingle:transports:ibb:1' block-size='4096' sid='v'/>"


def _others() -> Iterator[Exchange]:
    """What is no call, what is large, and what nobody has defined."""
    yield from _files()
    yield from _mixtures()
    odd = ("source-add", "x" * 200, "")
    yield "unknown-actions", _in_call(ICE, *(stanza(BOB, action, content()) for action in odd))
    addressed = f"from='{ALICE}' to='{BOB}'"
    elements = (
        f"<jingle xmlns='{JINGLE}'/>",
        f"<jingle xmlns='{JINGLE}' action='session-info'/>",
        f"<jingle xmlns='{JINGLE}' sid='k8'/>",
        "<jingle xmlns='urn:xmpp:jingle:0' action='session-initiate' sid='k10'/>",
        "<session xmlns='http://www.google.com/session' type='initiate' id='k11'/>",
    )
    yield (
        "hardly-jingle",
        [
            *(f"<iq type='set' {addressed}>{element}</iq>" for element in elements),
            f"<iq type='get' {addressed}>{elements[1]}</iq>",
            stanza(ALICE, "source-add", content(described())),
            stanza(BOB, "message"),
        ],
    )
    infos = (
        f"<hold xmlns='{RTP_INFO}'/>",
        f"<active xmlns='{RTP_INFO}'/>",
        "<trying xmlns='urn:xmpp:jingle:transports:raw-udp:info:1'/>",
        "<whisper xmlns='urn:example:mood'/>",
        "",
    )
    yield "infos", _in_call(RAW, *(stanza(BOB, "session-info", info) for info in infos))
    yield "security-info", _in_call(RAW, stanza(ALICE, "security-info", content()))
    reasons = ("", "<reason/>", "<reason><bored/><text>so</text><x xmlns='urn:x'/></reason>")
    ends = (stanza(BOB, "session-terminate", reason) for reason in reasons)
    yield "odd-reasons", [each for ended in ends for each in (offer(ICE), ended)]
    inside = content(f"{described()}{ICE.transport(ALICE)}<security xmlns='urn:x'/>y")
    foreign = (
        f"<conference-info xmlns='urn:xmpp:coin:1'/>x<content xmlns='urn:x' name='0'/>{inside}"
    )
    yield (
        "foreign-elements",
        [stanza(ALICE, "session-initiate", f"{foreign}<z xmlns='urn:x'/>"), accept(ICE), end()],
    )


def _files() -> Iterator[Exchange]:
    file = _FILE.format("a")
    used = (
        "<transport xmlns='urn:xmpp:jingle:transports:s5b:1'><candidate-used cid='h1'/></transport>"
    )
    info = "<received xmlns='urn:xmpp:jingle:apps:file-transfer:5' creator='initiator' name='f'/>"
    yield (
        "file-transfer",
        [
            stanza(ALICE, "session-initiate", content(file + _SOCKS, "f", None)),
            stanza(BOB, "session-accept", content(file + _SOCKS, "f", None, "sender")),
            stanza(ALICE, "transport-info", bare(used, "f", None)),
            stanza(ALICE, "transport-replace", bare(_IN_BAND, "f", None)),
            stanza(BOB, "transport-accept", bare(_IN_BAND, "f", None)),
            stanza(ALICE, "session-info", info),
            end(BOB),
        ],
    )
    many = "".join(content(file + _SOCKS + _IN_BAND, f"f{n}") for n in range(17))
    yield "seventeen-files", [stanza(ALICE, "session-initiate", many), end()]
    large = content(_FILE.format(LARGE) + _IN_BAND, "f")
    yield "large-file-transfer", [stanza(ALICE, "session-initiate", large), end()]
    yield (
        "voice-and-a-file",
        _in_call(
            ICE,
            stanza(ALICE, "content-add", content(file + _SOCKS, "f")),
            stanza(BOB, "content-accept", content(file + _SOCKS, "f")),
            stanza(BOB, "content-remove", bare("", "f")),
        ),
    )


def _mixtures() -> Iterator[Exchange]:
    """Raw UDP and ICE in one session, and offers that are large."""
    for kind, other in ((ICE, RAW), (RAW, ICE)):
        both = {p: content(described() + kind.transport(p)) + video(other, p) for p in (ALICE, BOB)}
        yield (
            f"{kind.name}-beside-{other.name}",
            [
                stanza(ALICE, "session-initiate", both[ALICE]),
                stanza(BOB, "session-accept", both[BOB]),
                end(),
            ],
        )
        yield f"{kind.name}-answered-by-{other.name}", [offer(kind), accept(other), end()]
        silent = stanza(BOB, "session-accept", content(described()))
        yield f"{kind.name}-answered-by-nothing", [offer(kind), silent, end()]
        empty = stanza(BOB, "session-accept", content(described() + kind.transport(BOB, "")))
        yield f"{kind.name}-answered-empty", [offer(kind), empty, end()]
        large = described("audio", f"<parameter name='x' value='{LARGE}'/>")
        begun = stanza(ALICE, "session-initiate", content(large + kind.transport(ALICE)))
        yield f"large-offer-{kind.name}", [begun, accept(kind), end()]

"""COMPAT: what real clients and servers do beside the specifications, and what we do about it.

Each quirk has a test of its name in tests/fronts/xmpp/test_compat.py. Where the code bends for one,
a comment names it. docs/clients.md is made from this table.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quirk:
    """One thing that one program does.

    `who` does it, `does` says what, `we` what it means for us. All are whole sentences but `who`.
    """

    id: str
    who: str
    does: str
    we: str


LIBPURPLE = "libpurple (Pidgin, Finch)"
WOCKY = "telepathy-gabble, wocky"

COMPAT: tuple[Quirk, ...] = (
    Quirk(
        "libpurple-guesses-rtcp",
        LIBPURPLE,
        "With exactly one remote candidate it invents another with the same id, and loses RTP.",
        "Every offer and answer of ours has two candidates, with ids of their own.",
    ),
    Quirk(
        "libpurple-skips-incomplete",
        LIBPURPLE,
        "A candidate that lacks component, generation, id, ip or port is skipped without a word.",
        "We write all five, whatever the other party left out.",
    ),
    Quirk(
        "libpurple-crashes-on-ipv6",
        LIBPURPLE,
        "An IPv6 candidate ends the program.",
        "Each leg is given an address of the family that the party itself uses.",
    ),
    Quirk(
        "libpurple-sends-early",
        LIBPURPLE,
        "The callee sends media the moment its user accepts, before its session-accept leaves.",
        "It is armed from the offer on, and the gate decides. Its own caller sends nothing until"
        " the accept and hears it from then on: nobody can know its NAT's port earlier.",
    ),
    Quirk(
        "libpurple-ignores-replace",
        LIBPURPLE,
        "It acknowledges a transport-replace and does nothing.",
        "We never send one: our first candidates are our last.",
    ),
    Quirk(
        "wocky-takes-the-first-set",
        WOCKY,
        "Only the first set of candidates counts; later transport-infos are ignored.",
        "The relay's addresses are in the first stanza, which waits until the ports are bound.",
    ),
    Quirk(
        "gabble-wants-ids",
        WOCKY,
        "It writes ip and port before component, and refuses candidates without id.",
        "The order of attributes means nothing to us; we write an id always.",
    ),
    Quirk(
        "jitsi-punches-holes",
        "Jitsi desktop",
        "After the accept it sends three bare RTP headers of 12 bytes to both components' ports.",
        "A bare header teaches the latch of either component.",
    ),
    Quirk(
        "yate-needs-component-1",
        "Yate",
        "It drops a raw-udp content without a candidate of component 1 with id and generation.",
        "Component 1 is always there, and first.",
    ),
    Quirk(
        "yate-offers-rtp-only",
        "Yate",
        "It has no RTCP candidate.",
        "The other party is given both components all the same (XEP-0167 section 4).",
    ),
    Quirk(
        "yate-is-trying",
        "Yate",
        "It sends session-info with the <trying/> that XEP-0177 had before version 0.13.",
        "It passes, and holds nobody.",
    ),
    Quirk(
        "yate-moves",
        "Yate",
        "When its port changes it sends transport-info with the next generation, for RTP alone.",
        "The latch of that component is armed anew, the other one stays.",
    ),
    Quirk(
        "yate-pings",
        "Yate",
        "It sends an empty session-info every 300 seconds.",
        "It passes (XEP-0166 section 6.9: a ping).",
    ),
    Quirk(
        "switji-omits",
        "Switji",
        "Its one candidate has no component and no id.",
        "A missing component is 1 and a missing id nothing; the peer is given complete ones.",
    ),
    Quirk(
        "sylk-adds-protocol",
        "SylkServer",
        "Candidates have the ids 100 and 101, which are no NCNames, and protocol='UDP'.",
        "Read as they are; what we write in their place has NCNames and no protocol.",
    ),
    Quirk(
        "dino-answers-empty",
        "Dino 0.4",
        "It answers raw-udp with an empty transport.",
        "The caller is given our candidates; Dino itself never sends, and the call ends as silent.",
    ),
    Quirk(
        "ice-omits",
        "several ICE clients",
        "Candidates lack id and generation.",
        "A missing generation is 0.",
    ),
    Quirk(
        "qxmpp-checks-early",
        "QXmpp (Kaidan)",
        "The callee's ICE agent checks from the offer on, and repeats a check ever more slowly.",
        "Its checks are answered while it rings, and at the accept it is asked at once.",
    ),
    Quirk(
        "gajim-nominates-late",
        "Gajim (libnice)",
        "It nominates our path only when its checks of direct ones have failed: the callee hears"
        " the caller 2.5 s after the accept where no direct path exists (libnice 0.1.21,"
        " `tests/integration/test_libpurple.py`).",
        "That is its precedence for a direct path, which is not ours to cut short: two private"
        ' networks may reach each other. With `ice.mode = "terminate"` it is 0.15 s.',
    ),
    Quirk(
        "siskin-names-itself",
        "Siskin",
        "The answer says creator='responder' for a content that the initiator created.",
        "An answer means the content of that name which awaits one, if there is just one.",
    ),
    Quirk(
        "old-dialects-name-no-creator",
        "dialects before XEP-0166 1.0",
        "A content of an offer or an answer has no creator.",
        "It can only be the initiator there.",
    ),
    Quirk(
        "ejabberd-keeps-namespaces",
        "ejabberd",
        "It may leave a stanza in the namespace of its client's stream.",
        "Stanzas of both namespaces are read.",
    ),
    Quirk(
        "anybody-is-the-initiator",
        "Dino, Conversations, Movim, Jitsi",
        "Whoever adds a content, its creator is said to be the initiator; others name themselves.",
        "A content is the one of that creator and name, else the only one of that name.",
    ),
    Quirk(
        "senders-are-a-hint",
        "Siskin, Movim, strophe.jingle",
        "The accept says a fixed or a wrong word of `senders`, or one that is none.",
        "Only content-modify and hold narrow what the offer opened.",
    ),
    Quirk(
        "initiator-as-typed",
        "QXmpp, Jitsi focus",
        "`initiator` is written as it was typed at login, or names a focus behind a room.",
        "It decides nothing: who sent a stanza to whom does.",
    ),
    Quirk(
        "stanza-rejects-without-contents",
        "stanza.js",
        "A content-reject names no content.",
        "It means what its sender was asked for and has not answered.",
    ),
    Quirk(
        "gajim-accepts-twice",
        "Gajim",
        "A content-accept is said twice.",
        "What is said again means the same.",
    ),
    Quirk(
        "rooms-rewrite-the-pair",
        "rooms (XEP-0045, private IQs)",
        "Occupants call each other by their addresses in the room, which are other ones for each.",
        "The sid and the room make it one call, which goes through us.",
    ),
)

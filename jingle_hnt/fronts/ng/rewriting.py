"""Puts the relay's addresses into a description; every byte that is not about them stays.

What is replaced: the port of an ``m=`` line, the address of its ``c=`` line (or the session's),
``a=rtcp``, ICE attributes as the call's ICE mode says, and with ``replace-origin`` the address of
``o=``. A media of which nothing is to be relayed keeps its lines.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jingle_hnt.fronts.ng.sdp import ICE_ATTRIBUTES, Description, Media
from jingle_hnt.model.address import IPAddress, TransportAddress
from jingle_hnt.model.content import Candidate


@dataclass(frozen=True, slots=True)
class Place:
    """Where the relay takes the media of one ``m=`` line.

    `appended` are candidates of ours beside the party's own (ICE stays); else ICE is taken out, and
    with a `ufrag` replaced by an agent of ours that has the candidates `own`. `protocol` replaces
    the profile where it is not empty; without `may_mux` the party's ``rtcp-mux`` is taken out.
    """

    rtp: TransportAddress
    rtcp: TransportAddress
    appended: tuple[Candidate, ...] = ()
    own: tuple[Candidate, ...] = ()
    ufrag: str = ""
    pwd: str = ""
    keeps_default: bool = False
    protocol: str = ""
    may_mux: bool = True


def rewritten(
    description: Description, places: Mapping[int, Place], replace: frozenset[str]
) -> bytes:
    """The description with these places, by the index of the media, in place of the party's own.

    `replace` is the proxy's list: ``origin`` and ``session-connection`` are heeded.
    """
    if not places:
        return description.raw
    return _Rewriting(description, places, replace).done()


class _Rewriting:
    def __init__(
        self, description: Description, places: Mapping[int, Place], replace: frozenset[str]
    ) -> None:
        self._description = description
        self._places = places
        self._replace = replace
        self._lines: list[str | None] = [line.text for line in description.lines]
        self._added: dict[int, list[str]] = {}
        last = next((line.ending for line in description.lines if line.ending), "\r\n")
        self._ending = last

    def done(self) -> bytes:
        description = self._description
        shown = next(iter(self._places.values())).rtp.ip
        session = self._session_connection()
        for media in description.media:
            place = self._places.get(media.index)
            if place is not None:
                self._medium(media, place, session)
        if "origin" in self._replace or "origin-full" in self._replace:
            self._origin(shown)
        if not any(self._keeps_ice(media) for media in description.media):
            head = description.media[0].begin if description.media else len(self._lines)
            self._drop_ice(range(head))
        return self._joined()

    def _keeps_ice(self, media: Media) -> bool:
        """Whether the session's ICE attributes are still somebody's."""
        place = self._places.get(media.index)
        return bool(media.port) and (place is None or bool(place.appended))

    def _session_connection(self) -> IPAddress | None:
        """Replace the session's address where that is asked; what it says from now on.

        None where it is left: then every media that is relayed gets a line of its own.
        """
        connection = self._description.connection
        if connection is None or "session-connection" not in self._replace:
            return None
        if connection.is_zero and "zero-address" not in self._replace:
            return None
        users = [
            media
            for media in self._description.media
            if media.connection == connection and media.port
        ]
        if any(media.index not in self._places for media in users):
            return None  # somebody who is not relayed lives by it
        taken = users or [m for m in self._description.media if m.index in self._places]
        ip = self._places[taken[0].index].rtp.ip
        self._lines[connection.at] = f"c={_connected(ip)}"
        return ip

    def _medium(self, media: Media, place: Place, session: IPAddress | None) -> None:
        if not place.keeps_default:
            self._port(media, place)
            self._connection(media, place, session)
        for at in range(media.begin, media.end):
            line = self._description.lines[at]
            if line.attribute == "rtcp" and not place.keeps_default:
                self._lines[at] = f"a=rtcp:{_rtcp(media, place, line.attribute_value)}"
            elif line.attribute in ("rtcp-mux", "rtcp-mux-only") and not place.may_mux:
                self._lines[at] = None
        if not place.appended:
            self._drop_ice(range(media.begin, media.end))
        if place.ufrag:
            self._add(media, f"a=ice-ufrag:{place.ufrag}", f"a=ice-pwd:{place.pwd}")
        for candidate in (*place.appended, *place.own):
            self._candidate(media, candidate)

    def _port(self, media: Media, place: Place) -> None:
        text = self._description.lines[media.begin].text
        head, _, rest = _split(text, 1)
        text = f"{head}{place.rtp.port}{rest}"
        if place.protocol:
            head, _, rest = _split(text, 2)
            text = f"{head}{place.protocol}{rest}"
        self._lines[media.begin] = text

    def _connection(self, media: Media, place: Place, session: IPAddress | None) -> None:
        connection = media.connection
        is_zero = connection is not None and connection.is_zero
        if is_zero and "zero-address" not in self._replace:
            return
        line = f"c={_connected(place.rtp.ip)}"
        if connection is not None and connection != self._description.connection:
            self._lines[connection.at] = line
        elif session != place.rtp.ip:
            self._added.setdefault(self._title(media), []).insert(0, line)

    def _title(self, media: Media) -> int:
        """The line behind which a ``c=`` belongs: the media's ``i=``, or ``m=`` itself."""
        lines, after = self._description.lines, media.begin + 1
        has_title = after < media.end and lines[after].letter == "i"
        return after if has_title else media.begin

    def _origin(self, ip: IPAddress) -> None:
        at = self._description.origin
        if at is None:
            return
        words = self._description.lines[at].value.split(" ")
        if len(words) != 6:
            return
        self._lines[at] = f"o={' '.join(words[:3])} {_connected(ip)}"

    def _drop_ice(self, places: range) -> None:
        for at in places:
            if self._description.lines[at].attribute in ICE_ATTRIBUTES:
                self._lines[at] = None

    def _candidate(self, media: Media, candidate: Candidate) -> None:
        kind = candidate.type.value if candidate.type is not None else "host"
        related = f" raddr {candidate.address.ip} rport 9" if kind != "host" else ""
        self._add(
            media,
            f"a=candidate:{candidate.id} {candidate.component} udp {candidate.priority} "
            f"{candidate.address.ip} {candidate.address.port} typ {kind}{related}",
        )

    def _add(self, media: Media, *lines: str) -> None:
        """Behind the media's last line that is one of SDP."""
        at = media.end - 1
        while at > media.begin and not self._description.lines[at].letter:
            at -= 1
        self._added.setdefault(at, []).extend(lines)

    def _joined(self) -> bytes:
        parts: list[str] = []
        for at, line in enumerate(self._description.lines):
            text = self._lines[at]
            if text is not None:
                parts.append(text + line.ending)
            for added in self._added.get(at, ()):
                if parts and not parts[-1].endswith(("\n", "\r")):
                    parts[-1] += self._ending
                parts.append(added + self._ending)
        return "".join(parts).encode("latin-1")


def _split(text: str, word: int) -> tuple[str, str, str]:
    """A line before, at and behind its word of this number (0 is the first)."""
    found = re.match(rf"((?:\S+\s+){{{word}}})(\S+)", text)
    assert found is not None  # `sdp.read` has seen these words
    return found[1], found[2], text[found.end() :]


def _connected(ip: IPAddress) -> str:
    return f"IN IP{ip.version} {ip}"


def _rtcp(media: Media, place: Place, value: str) -> str:
    """``a=rtcp`` with our port, and our address where the party wrote its own (RFC 3605)."""
    muxed = media.mux and place.may_mux and media.rtcp in (media.port, 9)
    address = place.rtp if muxed else place.rtcp
    named = len(value.split()) > 1
    return f"{address.port} {_connected(address.ip)}" if named else str(address.port)

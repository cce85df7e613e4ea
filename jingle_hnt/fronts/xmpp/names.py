"""Namespaces, and the element names made of them in ElementTree's notation."""

from xml.etree.ElementTree import Element

from jingle_hnt.model import content

STREAM = "http://etherx.jabber.org/streams"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
COMPONENT = "jabber:component:accept"
CLIENT = "jabber:client"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
FORWARD = "urn:xmpp:forward:0"
INTERCEPT = "urn:hnt:intercept:0"
"""The protocol between server module and component; config/prosody/README.md describes it."""

JINGLE = "urn:xmpp:jingle:1"
JINGLE_ERRORS = "urn:xmpp:jingle:errors:1"
RAW_UDP = "urn:xmpp:jingle:transports:raw-udp:1"
ICE_UDP = content.ICE_UDP
ICE = content.ICE
ICE_OPTION = "http://gultsch.de/xmpp/drafts/jingle/transports/ice-udp/option"
RTP = "urn:xmpp:jingle:apps:rtp:1"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
SOURCES = "urn:xmpp:jingle:apps:rtp:ssma:0"
JINGLE_MESSAGE = "urn:xmpp:jingle-message:0"
CALL_INVITES = "urn:xmpp:call-invites:0"
RTP_INFO = "urn:xmpp:jingle:apps:rtp:info:1"

COMMANDS = "http://jabber.org/protocol/commands"
ADMIN = "http://jabber.org/protocol/admin"
DATA_FORMS = "jabber:x:data"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
EXTDISCO = "urn:xmpp:extdisco:2"
HINTS = "urn:xmpp:hints"
JID_ESCAPING = r"jid\20escaping"
LAST_ACTIVITY = "jabber:iq:last"
NODES = "http://jabber.org/protocol/jinglenodes"
NODES_CHANNEL = "http://jabber.org/protocol/jinglenodes#channel"
PING = "urn:xmpp:ping"
VALIDATE = "http://jabber.org/protocol/xdata-validate"
VERSION = "jabber:iq:version"


def local_name(element: Element) -> str:
    """The element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def namespace(element: Element) -> str:
    """The element's namespace; empty where it has none."""
    return element.tag[1:].partition("}")[0] if element.tag.startswith("{") else ""

"""Calls of SIP proxies: rtpengine's NG control protocol, as Kamailio and OpenSIPS speak it."""

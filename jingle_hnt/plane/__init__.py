"""The forwarding plane: the only place that owns media sockets.

It knows bindings, pinholes and sides 0 and 1; it knows no session, leg, JID or XML.
"""

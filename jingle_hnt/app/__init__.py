"""The signalling process: what it is made of, and what drives it.

`signalling.py` is the composition root and the only driver of the session core. What has a subject
of its own is beside it: what of calls is written down, who is served next, what of the host is in
the way.
"""

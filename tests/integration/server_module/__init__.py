"""The contract of the server module: what a component may rely on, run on real servers.

Every test is written against the protocol of config/prosody/README.md and `LocalServer` only, and
runs on each kind of server. Where two kinds differ, the test says so by the kind's name, and
config/ejabberd/README.md says it to operators.
"""

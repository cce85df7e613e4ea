"""The network that the tests were started in, for what they have to fetch.

Import this before the process enters a namespace of its own: the descriptor keeps the way back.
"""

import os

NAMESPACE = f"/proc/{os.getpid()}/fd/{os.open('/proc/self/ns/net', os.O_RDONLY)}"
"""A path to the network namespace, for ``nsenter --net=``; holds as long as this process."""

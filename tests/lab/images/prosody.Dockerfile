# Stands in for Prosody's own image where no registry is at hand: Debian's Prosody under the same user id, with
# the same paths.
ARG BASE
FROM ${BASE}
RUN apt-get update \
    && printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d \
    && groupadd --system --gid 101 prosody \
    && useradd --system --uid 101 --gid 101 --home-dir /var/lib/prosody prosody \
    && apt-get install -y --no-install-recommends prosody \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o prosody /run/prosody
USER prosody
ENTRYPOINT ["prosody", "-F"]
